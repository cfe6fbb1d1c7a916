"""Where the program begins: which verb, and what a shell completes."""
