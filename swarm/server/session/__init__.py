"""One client's generation on one hop."""
