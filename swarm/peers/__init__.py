"""Who serves what: the directory, what a client has seen of its peers, and how far away they are."""
