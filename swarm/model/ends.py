"""What a client computes of a model: the embedding before the first block, the norm and head after the last."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from swarm import shown
from swarm.errors import InvalidRequest
from swarm.model.weights import Checkpoint
from swarm_kernels import FORMATS, Linear, cpu, rms_norm

# Rows of the embedding that stay in memory: reading one takes 0.3 ms in the middle of a token, and most tokens recur.
_KEPT_ROWS = 4096


class ModelEnds:
    """Token ids to hidden states, and hidden states to logits.

    Of the ends' tensors only the head is held in memory, packed, which halves its time. A step needs but a row of the
    embedding for each token, and gets them from the file.
    """

    def __init__(self, checkpoint: Checkpoint, head: "_Head", dtype: torch.dtype):
        """dtype: of embeddings"""
        self.config = checkpoint.config
        self._checkpoint = checkpoint
        self._head = head
        self._dtype = dtype
        self._one_row = lru_cache(_KEPT_ROWS)(lambda token_id: checkpoint.load_embedding_rows([token_id], dtype))

    @classmethod
    def load(cls, checkpoint: Checkpoint, dtype: torch.dtype, head_format: str | None = None) -> "ModelEnds":
        """head_format: "bfloat16" or "int8", by the fused CPU kernels where they work; by default torch in `dtype`.

        Raises ModelError for missing or broken tensors, those of the embedding included.
        """
        head: _Head
        fits = checkpoint.config.hidden_size % cpu.COLUMNS == 0
        if head_format in (None, "float32") or not fits or not cpu.is_available():
            head = _TorchHead(checkpoint, dtype)
        else:
            head = _FusedHead(checkpoint, head_format)
        ends = cls(checkpoint, head, dtype)
        ends.embed([0])
        return ends

    @torch.inference_mode()
    def embed(self, token_ids: Sequence[int]) -> Tensor:
        """[n] token ids -> [n, hidden_size]. Raises InvalidRequest for an id outside the vocabulary."""
        self.check_ids(token_ids)
        if len(token_ids) == 1:
            return self._one_row(token_ids[0])
        return self._checkpoint.load_embedding_rows(token_ids, self._dtype)

    def check_ids(self, token_ids: Sequence[int]) -> None:
        """Raises InvalidRequest for an id outside the vocabulary."""
        for token_id in token_ids:
            if not 0 <= token_id < self.config.vocab_size:
                raise InvalidRequest(
                    f"token id {shown.figure(token_id)} is outside the vocabulary of {self.config.vocab_size} tokens"
                )

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """What the last block returned, [n, hidden_size] -> [n, vocab_size] float32"""
        return self._head(hidden)


class _Head(Protocol):
    def __call__(self, hidden: Tensor) -> Tensor: ...


class _TorchHead:
    def __init__(self, checkpoint: Checkpoint, dtype: torch.dtype):
        self._norm, self._eps, self._dtype = checkpoint.load_final_norm(dtype), checkpoint.config.norm_eps, dtype
        self._product = Linear(checkpoint.load_head(dtype))

    def __call__(self, hidden: Tensor) -> Tensor:
        return self._product(rms_norm(hidden.to(self._dtype), self._norm, self._eps)).float()


class _FusedHead:
    """Norm and product in one call, on packed weights."""

    def __init__(self, checkpoint: Checkpoint, format: str):
        self._norm, self._eps = checkpoint.load_final_norm(torch.float32), checkpoint.config.norm_eps
        quantised = format in FORMATS
        weight = checkpoint.load_quantised_head(FORMATS[format]) if quantised else checkpoint.load_head(torch.bfloat16)
        self._product = cpu.PackedMatrix(weight)

    def __call__(self, hidden: Tensor) -> Tensor:
        return self._product(hidden.float().contiguous(), torch.get_num_threads(), self._norm, self._eps)
