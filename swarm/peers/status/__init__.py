"""What a swarm looks like to whoever asks: its peers, what they serve, how much room there is."""
