"""Swarms as placement sees them, drawn by chance."""

import math

from hypothesis import strategies as st

from swarm.route.placement.placed import (
    Placed,
)


def peer(name: str, start: int, stop: int, max_blocks: int | None = None, speed: float = 100, **more: object) -> Placed:
    return Placed(name, start, stop, max_blocks or stop - start, speed, **more)


@st.composite
def swarms(draw: st.DrawFn, peers: tuple[int, int], blocks: tuple[int, int]) -> tuple[list[Placed], int]:
    """Peers of unequal memory, speed and network, anywhere, some of them pinned; and the number of blocks."""
    num_blocks = draw(st.integers(*blocks))
    swarm = []
    for index in range(draw(st.integers(*peers))):
        most = draw(st.integers(1, num_blocks))
        width = draw(st.integers(1, most))
        start = draw(st.integers(0, num_blocks - width))
        speed, network = draw(st.integers(10, 200)), draw(st.sampled_from([math.inf, math.inf, 20.0]))
        pinned = draw(st.integers(0, 5)) == 0
        swarm.append(Placed(f"p{index}", start, start + width, most, speed, network, pinned))
    return swarm, num_blocks
