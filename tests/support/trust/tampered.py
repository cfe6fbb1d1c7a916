"""A small model, and a copy of which one weight differs."""

import json
import shutil
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from swarm.model import Checkpoint, open_checkpoint
from swarm.model.identity import block_digest

NUM_BLOCKS = 4

CHANGED = 2  # the block of which the copy differs


def save_original(folder: Path, demo_checkpoint: Checkpoint) -> Path:
    """A small random model, with the demo's tokenizer."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=demo_checkpoint.config.vocab_size,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=NUM_BLOCKS,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    demo_checkpoint.load_tokenizer().save_pretrained(folder)
    return folder


def save_tampered(folder: Path, original: Path) -> Path:
    """The same, but for one weight of one block, between the bytes that a revision samples."""
    shutil.copytree(original, folder)
    change_weight(folder)
    return folder


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
