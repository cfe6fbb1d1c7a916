"""A peer: it serves a contiguous range of a model's blocks to many sessions at once."""

from swarm.packages import explain_calls

explain_calls(__name__)
