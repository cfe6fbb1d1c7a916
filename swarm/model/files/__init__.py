"""Files that tensors are read from, and the hub that they may come from."""
