"""Who computed what, and whether it was right: receipts, audits, evidence, reputation."""
