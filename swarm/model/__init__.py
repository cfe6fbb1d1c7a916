"""What a model is: its config, its files, the blocks a server computes and the ends a client holds."""

from swarm.model.blocks import BlockRange, check_block_range, parse_block_range
from swarm.model.checkpoint import open_checkpoint
from swarm.model.ends import ModelEnds
from swarm.model.families import ModelConfig, parse_config
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
