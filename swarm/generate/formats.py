"""In which formats a client computes its own part of the model: what may be asked for, and what suits a chain. Pure,
and without torch."""

import re
from collections.abc import Iterable, Sequence

from swarm.errors import InvalidRequest
from swarm.route.peer import PeerInfo

# The head that suits a chain: none is rounded more than the coarsest block before it, and none costs more than it must.
HEAD_FORMATS = ("float32", "bfloat16", "int8")


def head_format(peers: Iterable[PeerInfo]) -> str:
    """One of HEAD_FORMATS, for a chain of `peers`."""
    peers = list(peers)
    if peers and all(peer.quant != "none" for peer in peers):
        return "int8"
    return "bfloat16" if peers and all(peer.dtype == "bfloat16" for peer in peers) else "float32"


def format_of(peers: Sequence[PeerInfo]) -> tuple[str, str]:
    """Quant and dtype of a chain: what all its peers have, or the exact ones where they differ."""
    quants, dtypes = {peer.quant for peer in peers}, {peer.dtype for peer in peers}
    return quants.pop() if len(quants) == 1 else "none", dtypes.pop() if len(dtypes) == 1 else "float32"


def parse_local_blocks(text: str) -> tuple[int, int]:
    """ "2:1" -> (2, 1), the first two blocks and the last one. Raises InvalidRequest."""
    match = re.fullmatch(r"\s*(\d{1,9})\s*:\s*(\d{1,9})\s*", text, re.ASCII)
    if match is None:
        raise InvalidRequest(f"local blocks {text!r:.60} are not two counts like 2:1 (the first two and the last one)")
    return int(match[1]), int(match[2])
