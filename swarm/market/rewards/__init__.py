"""Epochs of a ledger: what is claimed and scored in each, and what is minted for it."""
