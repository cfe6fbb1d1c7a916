"""Measuring how fast a model answers: what `swarm benchmark` and the benchmarks have in common."""
