"""The verbs of `python -m swarm`."""
