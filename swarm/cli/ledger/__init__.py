"""`python -m swarm ledger`: accounts, channels and stake, and the book that shows them."""
