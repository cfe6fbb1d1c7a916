"""Accounts, and the rules by which entries change them. Every kind of ledger keeps its books by these."""
