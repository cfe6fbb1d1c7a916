"""Which blocks each peer should serve, where a newcomer goes, and the next move of a swarm. Pure."""
