"""What is signed and hashed: formats that several rooms read."""
