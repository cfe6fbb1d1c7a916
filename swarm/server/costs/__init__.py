"""What a server's work takes: measured at the start, learned while it serves, announced to others."""
