"""What may be believed of a peer, and why."""
