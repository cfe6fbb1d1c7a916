"""From prompt to tokens: embeddings, a session on a chain of peers, the head, sampling, text."""

from swarm.packages import explain_calls

explain_calls(__name__)
