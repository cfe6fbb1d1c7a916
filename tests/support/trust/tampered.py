"""A small model, and a copy of which one weight differs."""

import json
from pathlib import Path

from swarm.model import open_checkpoint
from swarm.model.identity import block_digest

NUM_BLOCKS = 4

CHANGED = 2  # the block of which the copy differs


def change_weight(folder: Path) -> None:
    file = folder / "model.safetensors"
    data = bytearray(file.read_bytes())
    header_bytes = int.from_bytes(data[:8], "little")
    tensor = json.loads(data[8 : 8 + header_bytes])[f"model.layers.{CHANGED}.mlp.up_proj.weight"]
    data[8 + header_bytes + tensor["data_offsets"][0] + 1000] ^= 1
    file.write_bytes(data)


def digests_of(folder: Path) -> list[bytes]:
    checkpoint = open_checkpoint(str(folder))
    return [block_digest(checkpoint, index) for index in range(NUM_BLOCKS)]
