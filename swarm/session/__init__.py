"""One generation's way through a chain of peers, whatever becomes of them."""
