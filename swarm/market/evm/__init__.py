"""The public ledger: a contract on an EVM chain, and the view of it that everything else uses like any other ledger."""
