"""swarm.toml: options for those who do not want to type them each time."""
