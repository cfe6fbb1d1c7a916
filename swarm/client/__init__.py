"""From prompt to tokens: embeddings, a session on a chain of peers, the head, sampling, text."""
