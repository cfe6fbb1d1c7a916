"""The parts of tokens_per_second.py."""
