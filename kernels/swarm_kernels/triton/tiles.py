"""How kernels are cut into programs: only what cannot change a result.

Panels, splits of the context and the order of sums are fixed by a weight's format and by attention.py. What is left
to choose for a product is BLOCK_N (rows of the weight per program), warps, and stages of its pipeline. A table chosen
by hand says so; `TileCache.tune` measures instead and keeps what it finds in a file.
"""

import json
import logging
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from swarm_kernels.folders import home_folder

logger = logging.getLogger(__name__)

DECODE_TOKENS = 16  # a tile of tokens up to this many, whatever their number
PREFILL_TOKENS = 64  # and beyond


@dataclass(frozen=True, slots=True)
class Tile:
    block_n: int  # 16 or 32: tiles of 64 rows are multiplied by other instructions on Hopper, see arithmetic.py
    num_warps: int
    num_stages: int


CANDIDATES = tuple(
    Tile(block_n, warps, stages)
    for block_n, warps in ((16, 1), (16, 2), (32, 2), (32, 4), (32, 8))
    for stages in (2, 3, 4, 6)
)

# A warp has 16 rows in decode: with more warps than that, two would dequantise the same weights.
_DECODE = Tile(32, 2, 4)
_PREFILL = Tile(32, 4, 3)


def block_m(tokens: int) -> int:
    """The width of a tile of tokens."""
    return DECODE_TOKENS if tokens <= DECODE_TOKENS else PREFILL_TOKENS


class TileCache:
    """Tiles by kernel, weight and number of tokens: measured ones where there are any, else those of the table."""

    def __init__(self, path: Path | None = None):
        """path: a JSON file, by default triton_tiles.json under SWARM_HOME (~/.cache/swarm); it need not exist."""
        self._path = _default_path() if path is None else path
        self._tiles = self._read()

    def tile(self, key: str, tokens: int) -> Tile:
        """key: whatever tells kernels, weights and devices apart, as `tile_key` of launch.py."""
        return self._tiles.get(f"{key} m{block_m(tokens)}", self.default(tokens))

    @staticmethod
    def default(tokens: int) -> Tile:
        return _DECODE if tokens <= DECODE_TOKENS else _PREFILL

    def tune(self, key: str, tokens: int, seconds: Callable[[Tile], float]) -> Tile:
        """Measures every candidate (one that cannot be launched takes `inf`) and keeps the fastest."""
        best = min(CANDIDATES, key=seconds)
        self._tiles[f"{key} m{block_m(tokens)}"] = best
        if self._path:
            self._write(self._path)
        return best

    def _write(self, path: Path) -> None:
        written = {name: asdict(tile) for name, tile in self._tiles.items()}
        partial = path.with_suffix(f".{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(written, indent=1, sort_keys=True))
            partial.replace(path)
        except OSError as error:
            logger.warning("the tiles measured are not kept: %s", error)

    def _read(self) -> dict[str, Tile]:
        """What does not name a candidate is left out: another tile could change results, or not compile."""
        if self._path is None:
            return {}
        try:
            written = json.loads(self._path.read_text())
            tiles = {name: Tile(**fields) for name, fields in written.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}
        return {name: tile for name, tile in tiles.items() if tile in CANDIDATES}


def _default_path() -> Path | None:
    """None for a user who has no place for it."""
    home = home_folder()
    base = os.environ.get("SWARM_HOME") or (home and home / ".cache" / "swarm")
    return Path(base) / "triton_tiles.json" if base else None
