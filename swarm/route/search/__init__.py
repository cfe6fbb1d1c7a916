"""The cheapest chain of peers for a request: exact, over blocks, with and without a limit on the price. Pure."""
