"""What a model is: its config, its files, the blocks a server computes and the ends a client holds."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swarm.model.blocks import BlockRange, check_block_range, parse_block_range
    from swarm.model.checkpoint import open_checkpoint
    from swarm.model.config.families import ModelConfig, parse_config
    from swarm.model.ends import ModelEnds
    from swarm.model.weights import Checkpoint, load_blocks

__all__ = [
    "BlockRange",
    "Checkpoint",
    "ModelConfig",
    "ModelEnds",
    "check_block_range",
    "load_blocks",
    "open_checkpoint",
    "parse_block_range",
    "parse_config",
]

# Imported when first used: some of this folder is light, such as what a model is called, and most brings torch.
_LAZY = {
    "BlockRange": "blocks",
    "Checkpoint": "weights",
    "ModelConfig": "config.families",
    "ModelEnds": "ends",
    "check_block_range": "blocks",
    "load_blocks": "weights",
    "open_checkpoint": "checkpoint",
    "parse_block_range": "blocks",
    "parse_config": "config.families",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module 'swarm.model' has no attribute {name!r}")
    return getattr(import_module(f"swarm.model.{_LAZY[name]}"), name)
