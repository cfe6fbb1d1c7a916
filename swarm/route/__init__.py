"""Who serves what, and which way through them is best."""
