"""What a user's clients remember of peers, and what follows for the next dealings with them."""
