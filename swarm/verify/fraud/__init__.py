"""What follows when a peer has cheated: evidence, proofs, and how everybody hears of it."""
