"""A peer: it serves a contiguous range of a model's blocks to many sessions at once."""
