"""Orders that peers bid for: sealed bids, the cheapest chain, and what the runners-up make it cost."""
