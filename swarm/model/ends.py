"""What a client computes of a model: the embedding before the first block, the norm and head after the last."""

from collections.abc import Sequence

import torch
from torch import Tensor

from swarm.errors import InvalidRequest
from swarm.model.weights import Checkpoint
from swarm_kernels import Linear, rms_norm


class ModelEnds:
    """Token ids to hidden states, and hidden states to logits.

    Of the ends' tensors only the head is held in memory, packed, which halves its time. A step needs but a row of the
    embedding for each token, and gets them from the file.
    """

    def __init__(self, checkpoint: Checkpoint, final_norm: Tensor, head: Linear, dtype: torch.dtype):
        """final_norm: [hidden_size]; head: [vocab_size, hidden_size]"""
        self.config = checkpoint.config
        self._checkpoint = checkpoint
        self._final_norm = final_norm
        self._head = head
        self._dtype = dtype

    @classmethod
    def load(cls, checkpoint: Checkpoint, dtype: torch.dtype) -> "ModelEnds":
        """Raises ModelError for missing or broken tensors, those of the embedding included."""
        ends = cls(checkpoint, checkpoint.load_final_norm(dtype), Linear(checkpoint.load_head(dtype)), dtype)
        ends.embed([0])
        return ends

    @torch.inference_mode()
    def embed(self, token_ids: Sequence[int]) -> Tensor:
        """[n] token ids -> [n, hidden_size]. Raises InvalidRequest for an id outside the vocabulary."""
        self.check_ids(token_ids)
        return self._checkpoint.load_embedding_rows(token_ids, self._dtype)

    def check_ids(self, token_ids: Sequence[int]) -> None:
        """Raises InvalidRequest for an id outside the vocabulary."""
        for token_id in token_ids:
            if not 0 <= token_id < self.config.vocab_size:
                raise InvalidRequest(
                    f"token id {token_id} is outside the vocabulary of {self.config.vocab_size} tokens"
                )

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Tensor:
        """What the last block returned, [n, hidden_size] -> [n, vocab_size] float32"""
        return self._head(rms_norm(hidden.to(self._dtype), self._final_norm, self.config.norm_eps)).float()
