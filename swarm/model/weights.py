"""A model's files, from which each process reads only the tensors it serves."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from swarm.errors import ModelError
from swarm.model.config.families import ModelConfig
from swarm.model.files.tensors import TensorFile
from swarm.model.layout import Naming, Part, block_parts, block_weights, fused_shape
from swarm_kernels import Format, QuantWeight, allocate

if TYPE_CHECKING:
    from swarm.model.tokenizer import AnyTokenizer

Progress = Callable[[int, int], object]  # (blocks loaded, blocks in all)


class TensorSource(Protocol):
    """The weight files of a model. A repository on the hub has some of them only once they are asked for."""

    def file_of(self, tensor: str) -> TensorFile:
        """The file that should hold the tensor. Raises ModelError."""


class Checkpoint:
    """Reads a model's tensors, under names and in an order of rows that do not depend on the file format.

    name:     what peers call the model in the directory: "demo", a repository id, the name of a folder or file
    revision: tells two models of the same shape apart: a commit on the hub, else a hash of config and weights
    """

    def __init__(
        self,
        name: str,
        revision: str,
        config: ModelConfig,
        source: TensorSource,
        naming: Naming,
        tokenizer_path: Path | str,
        interleaved: bool = False,
        local: bool = True,
    ):
        """tokenizer_path: a folder, a GGUF file or a repository id.

        interleaved: whether the rows of q and k lie in llama.cpp's order, where rotation turns (2i, 2i + 1).
        local: whether all files are on this machine, and none would be downloaded when it is asked for.
        """
        self.name = name
        self.revision = revision
        self.config = config
        self._source = source
        self._naming = naming
        self._tokenizer_path = tokenizer_path
        self._interleaved = interleaved
        self.local = local
        self._parts = block_parts(config)
        # Weak, so that head and embedding share memory where tied without the checkpoint keeping it alive.
        self._embeddings: WeakValueDictionary[torch.dtype, Tensor] = WeakValueDictionary()

    def called(self, name: str) -> "Checkpoint":
        """The same under another name."""
        other = copy(self)
        other.name = name
        return other

    def block_nbytes(self, dtype: torch.dtype) -> int:
        """Bytes of one block's tensors in memory."""
        return block_weights(self.config) * dtype.itemsize

    def load_block(
        self, index: int, dtype: torch.dtype, format: Format | None = None, norm_dtype: torch.dtype | None = None
    ) -> dict[str, Tensor | QuantWeight]:
        """The tensors of block `index` with the names and shapes of `layout.block_parts`. Raises ModelError.

        format: quantise the matrices to it. norm_dtype: of norms and biases, if not `dtype`.
        """
        self._check_block(index)
        tensors: dict[str, Tensor | QuantWeight] = {}
        for name, parts in self._parts.items():
            if len(parts[0].shape) == 1:
                tensors[name] = self._load_fused(index, parts, norm_dtype or dtype)
            elif format is None:
                tensors[name] = self._load_fused(index, parts, dtype)
            else:
                tensors[name] = self._load_quantised(index, parts, format)
        return tensors

    def block_files(self, index: int) -> Iterator[tuple[str, TensorFile]]:
        """The tensors of block `index` by their names in the files, in the order of `layout.block_parts`, each with the
        file that holds it. Raises ModelError."""
        self._check_block(index)
        for parts in self._parts.values():
            for part in parts:
                name = self._naming.name(index, part)
                yield name, self._source.file_of(name)

    def load_embedding(self, dtype: torch.dtype) -> Tensor:
        """[vocab_size, hidden_size]; the tensor of an earlier call as long as someone holds it"""
        embedding = self._embeddings.get(dtype)
        if embedding is None:
            embedding = self._load(self._naming.embedding, (self.config.vocab_size, self.config.hidden_size), dtype)
            self._embeddings[dtype] = embedding
        return embedding

    def load_embedding_rows(self, token_ids: Sequence[int], dtype: torch.dtype) -> Tensor:
        """[n, hidden_size], read from the file: 30 to 60 us a token, and none of the matrix stays in memory"""
        name, shape = self._naming.embedding, (self.config.vocab_size, self.config.hidden_size)
        file = self._source.file_of(name)
        file.check_shape(name, shape)
        out = torch.empty(len(token_ids), self.config.hidden_size, dtype=dtype)
        for token_id, row in zip(token_ids, out, strict=True):
            file.read_row_into(name, token_id, row)
        return out

    def load_final_norm(self, dtype: torch.dtype) -> Tensor:
        """[hidden_size]"""
        return self._load(self._naming.final_norm, (self.config.hidden_size,), dtype)

    def load_head(self, dtype: torch.dtype) -> Tensor:
        """[vocab_size, hidden_size]; where the model ties them, the embedding itself"""
        if self.config.tie_embeddings:
            return self.load_embedding(dtype)
        return self._load(self._naming.head, (self.config.vocab_size, self.config.hidden_size), dtype)

    def load_quantised_head(self, format: Format) -> QuantWeight:
        """Like load_head."""
        name = self._naming.embedding if self.config.tie_embeddings else self._naming.head
        file = self._source.file_of(name)
        file.check_shape(name, (self.config.vocab_size, self.config.hidden_size))
        return file.read_quantised(name, format)

    @property
    def origin(self) -> Path | str:
        """Where there is more of the model than its tensors: a folder, a GGUF file or a repository id."""
        return self._tokenizer_path

    def load_tokenizer(self) -> "AnyTokenizer":
        # Tokenizers take time and tens of MB to import, and a server, which holds a checkpoint, never needs them.
        from swarm.model.tokenizer import load_tokenizer  # noqa: PLC0415

        return load_tokenizer(self._tokenizer_path, self.revision)

    def find_tokenizer(self) -> "AnyTokenizer | None":
        """The same; None for a folder without one: its users speak in token ids."""
        from swarm.model.tokenizer import has_tokenizer  # noqa: PLC0415

        return self.load_tokenizer() if has_tokenizer(self._tokenizer_path) else None

    def _check_block(self, index: int) -> None:
        if not 0 <= index < self.config.num_blocks:
            raise ModelError(f"block {index} is outside this model, which has {self.config.num_blocks} blocks")

    def _load(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        out = allocate(shape, dtype)
        self._source.file_of(name).read_into(name, out)
        return out

    def _load_fused(self, index: int, parts: tuple[Part, ...], dtype: torch.dtype) -> Tensor:
        out = allocate(fused_shape(parts), dtype)
        row = 0
        for part in parts:
            rows = out[row : row + part.shape[0]]
            name = self._naming.name(index, part)
            self._source.file_of(name).read_into(name, rows)
            if self._interleaved and part.stem in ("q", "k"):
                _deinterleave(rows, self.config.head_dim)
            row += part.shape[0]
        return out

    def _load_quantised(self, index: int, parts: tuple[Part, ...], format: Format) -> QuantWeight:
        """Each part is quantised alone: no row knows of the others."""
        pieces = []
        for part in parts:
            name = self._naming.name(index, part)
            file = self._source.file_of(name)
            file.check_shape(name, part.shape)
            piece = file.read_quantised(name, format)
            if self._interleaved and part.stem in ("q", "k"):
                for tensor in (piece.codes, piece.scale, piece.minimum):
                    if tensor is not None:
                        _deinterleave(tensor, self.config.head_dim)
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else QuantWeight.cat(pieces)


def load_blocks(
    checkpoint: Checkpoint,
    start: int,
    stop: int,
    dtype: torch.dtype,
    format: Format | None = None,
    norm_dtype: torch.dtype | None = None,
    progress: Progress | None = None,
) -> Iterator[dict[str, Tensor | QuantWeight]]:
    """The blocks start to stop - 1, each loaded when asked for, so that only one is held twice while it is packed."""
    for index in range(start, stop):
        yield checkpoint.load_block(index, dtype, format, norm_dtype)
        if progress is not None:
            progress(index + 1 - start, stop - start)


def weights_revision(config: ModelConfig, files: Iterable[TensorFile]) -> str:
    """16 hex digits that differ for models with other configs, tensors, or bytes at a few places of any tensor."""
    digest = hashlib.sha256(config.canonical())
    entries = ((name, entry, file) for file in files for name, entry in file.entries.items())
    for name, entry, file in sorted(entries, key=lambda item: item[0]):
        digest.update(json.dumps([name, entry.shape, entry.kind]).encode())
        digest.update(file.sample(entry))
    return digest.hexdigest()[:16]


def _deinterleave(rows: Tensor, head_dim: int) -> None:
    """rows [heads * head_dim, ...], in place: from llama.cpp's order (0, d/2, 1, d/2 + 1, ...) to Hugging Face's."""
    pairs = rows.view(-1, head_dim // 2, 2, *rows.shape[1:])
    rows.copy_(pairs.transpose(1, 2).reshape(rows.shape))
