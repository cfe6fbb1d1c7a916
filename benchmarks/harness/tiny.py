"""A model with next to no weights, so that what surrounds its blocks is what takes time."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from transformers import LlamaConfig, LlamaForCausalLM

from swarm.model.checkpoint import open_checkpoint


@contextmanager
def tiny_model(vocabulary: int = 49152) -> Iterator[str]:
    """A folder with a model of three blocks that have the demo's hidden size and little else. vocabulary: by default
    the demo's; of a smaller one, too, the tokeniser is the demo's."""
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=576, intermediate_size=32, num_hidden_layers=3, num_attention_heads=1,
        num_key_value_heads=1, head_dim=16, max_position_embeddings=2048, tie_word_embeddings=True,
        bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        LlamaForCausalLM(config).save_pretrained(folder)
        open_checkpoint("demo").load_tokenizer().save_pretrained(folder)
        yield folder
