"""Whether a hop computed what it says: receipts, audits by re-execution, standing."""
