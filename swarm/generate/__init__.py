"""From prompt to text: embeddings, the head, sampling, and the sessions that carry what is between."""
