"""Who can be trusted with what: what a client remembers of peers, and what follows from it."""
