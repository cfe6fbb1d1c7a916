"""A small model in every form of file."""

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from swarm.model import BlockRange, ModelEnds, open_checkpoint


def small_model(tie=False):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=2,
        tie_word_embeddings=tie,
        eos_token_id=1,
    )
    return LlamaForCausalLM(config)


def load_everything(model):
    opened = open_checkpoint(str(model))
    ModelEnds.load(opened, torch.float32)
    BlockRange.load(opened, 0, opened.config.num_blocks, torch.float32)
