"""How much memory a case takes for keys and values, and whether this machine has it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

BLOCKS = 30  # of the demo model
_POSITION_ELEMENTS = BLOCKS * 2 * 3 * 64  # keys and values of a token: 3 heads of 64
_LEAST_BYTES = 256 * 2**20
_SPARE = 1.3  # pages are not filled to their ends
_SHARE = 0.25  # of the machine's memory


@dataclass(frozen=True)
class Room:
    """What an engine has to have room for."""

    sessions: int  # at once
    tokens: int  # of all sessions together, prompts and new ones

    def bytes(self, element: int) -> int:
        """In elements of so many bytes."""
        return max(_LEAST_BYTES, int(_SPARE * (self.tokens + 64 * self.sessions) * _POSITION_ELEMENTS * element))


def room_for(cases: Sequence[tuple[int, int]], new_tokens: int) -> Room:
    """cases: (sessions, context), one after the other."""
    return Room(
        max((sessions for sessions, _ in cases), default=1),
        max((sessions * (context + new_tokens) for sessions, context in cases), default=1),
    )


def fitting(
    cases: Sequence[tuple[int, int]], new_tokens: int, element: int, memory_bytes: int
) -> tuple[list[tuple[int, int]], list[str]]:
    """Those for which this machine has the memory, and about each of the others why not. element: bytes of each number
    that is kept; 0: it is kept elsewhere."""
    kept, left_out = [], []
    for case in cases:
        needed = room_for([case], new_tokens).bytes(element)
        if not element or needed <= _SHARE * memory_bytes:
            kept.append(case)
        else:
            what = f"{case[0]} session{'s' * (case[0] > 1)}, context {case[1]}"
            gib = f"{needed / 2**30:.0f} of this machine's {memory_bytes / 2**30:.0f} GiB"
            left_out.append(f"{what}: keys and values would take {gib}, and a quarter is the most")
    return kept, left_out
