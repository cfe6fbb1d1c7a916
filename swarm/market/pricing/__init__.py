"""Five ways to price and reward work, each a pure policy with the same interface (see policy.py)."""
