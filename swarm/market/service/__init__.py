"""The service that keeps a ledger for other machines: `python -m swarm ledger serve`."""
