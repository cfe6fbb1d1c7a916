"""From prompt to text: embeddings, the head, sampling, and the sessions that carry what is between."""

from swarm.packages import explain_calls

explain_calls(__name__)
