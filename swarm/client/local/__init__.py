"""What `swarm.LocalSwarm` is made of: server processes, their folder, and the list of those that run here."""
