"""A validator: samples a swarm's work on its own account, and checks it."""
