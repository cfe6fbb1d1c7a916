"""What hops sign for their work: written by servers, checked by clients, kept by both."""
