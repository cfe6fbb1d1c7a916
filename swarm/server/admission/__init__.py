"""Who is let in: what an opening asks for, and who goes first when a server is full."""
