"""A conversation in the terminal: what is said, who types it, and what is made of it."""
