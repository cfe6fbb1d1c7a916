"""What benchmarks share, and some tests: emulated links, a chain for ledgers, replicas, simulated swarms; reports."""
