"""llama.cpp as the benchmarks drive it: several sequences in one context, greedy, one batch a step.

Needs llama-cpp-python (`pip install llama-cpp-python`, compiled for this machine). The demo model's file is requantised
with llama.cpp's own tool, so that bits and weights are comparable.
"""

import ctypes
import tempfile
import time
from pathlib import Path

import llama_cpp
import numpy as np

_FILE_TYPES = {"Q8_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q8_0, "Q4_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0}
_PREFILL_TOKENS = 512  # in one batch, llama.cpp's default
_SPARE_POSITIONS = 8


def requantised(source: Path, kind: str) -> Path:
    """`source` with all matrices in `kind`, kept in the temporary folder."""
    path = Path(tempfile.gettempdir()) / f"{source.stem}-{kind}-{source.stat().st_size}.gguf"
    if not path.exists():
        options = llama_cpp.llama_model_quantize_default_params()
        options.allow_requantize, options.ftype = True, _FILE_TYPES[kind]
        partial = path.with_suffix(".part")
        if llama_cpp.llama_model_quantize(str(source).encode(), str(partial).encode(), ctypes.byref(options)):
            raise RuntimeError(f"llama.cpp could not requantise {source} to {kind}")
        partial.rename(path)
    return path


@llama_cpp.llama_log_callback
def _silent(level: int, text: bytes, data: ctypes.c_void_p) -> None:
    """What llama.cpp says while loading fills screens."""


llama_cpp.llama_log_set(_silent, ctypes.c_void_p())


class LlamaCpp:
    """A model, and a context that has room for what was last asked for."""

    def __init__(self, path: Path, threads: int = 1):
        model_options = llama_cpp.llama_model_default_params()
        self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), model_options)
        self._threads = threads
        self._vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self._model))
        self._shape = (0, 0)  # of the context: sequences, tokens of each

    def close(self) -> None:
        self._free()
        llama_cpp.llama_model_free(self._model)

    def _make_room(self, sessions: int, positions: int) -> None:
        """llama.cpp shares a context out among its sequences in equal parts, so each shape has one of its own."""
        if self._shape == (sessions, positions):
            return
        self._free()
        options = llama_cpp.llama_context_default_params()
        options.n_ctx, options.n_seq_max = sessions * positions, sessions
        options.n_batch = options.n_ubatch = _PREFILL_TOKENS
        options.n_threads = options.n_threads_batch = self._threads
        self._context = llama_cpp.llama_init_from_model(self._model, options)
        self._batch = llama_cpp.llama_batch_init(max(_PREFILL_TOKENS, sessions), 0, 1)
        self._shape = (sessions, positions)

    def _free(self) -> None:
        if self._shape != (0, 0):
            llama_cpp.llama_batch_free(self._batch)
            llama_cpp.llama_free(self._context)
            self._shape = (0, 0)

    def _prefill(self, sequence: int, tokens: list[int]) -> int:
        """The token that follows."""
        for start in range(0, len(tokens), _PREFILL_TOKENS):
            part = tokens[start : start + _PREFILL_TOKENS]
            rows = [(token, start + index, sequence) for index, token in enumerate(part)]
            self._decode(rows, last_only=True)
        return self._best(len(part) - 1)

    def generate(self, prompts: list[list[int]], count: int) -> list[list[float]]:
        """`count` tokens for every prompt; when each came, in seconds after the beginning: prompts one after the other,
        then steps of one token for each."""
        self._make_room(len(prompts), max(map(len, prompts)) + count + _SPARE_POSITIONS)
        started, current = time.perf_counter(), []
        times: list[list[float]] = []
        for sequence, prompt in enumerate(prompts):
            current.append(self._prefill(sequence, prompt))
            times.append([time.perf_counter() - started])
        for step in range(count - 1):
            rows = [(token, len(prompts[s]) + step, s) for s, token in enumerate(current)]
            self._decode(rows, last_only=False)
            current = [self._best(row) for row in range(len(rows))]
            for own in times:
                own.append(time.perf_counter() - started)
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)
        return times

    def _decode(self, rows: list[tuple[int, int, int]], last_only: bool) -> None:
        batch = self._batch
        batch.n_tokens = len(rows)
        for index, (token, position, sequence) in enumerate(rows):
            batch.token[index], batch.pos[index] = token, position
            batch.n_seq_id[index], batch.seq_id[index][0] = 1, sequence
            batch.logits[index] = not last_only or index == len(rows) - 1
        if llama_cpp.llama_decode(self._context, batch):
            raise RuntimeError("llama.cpp could not decode a batch")

    def _best(self, row: int) -> int:
        logits = llama_cpp.llama_get_logits_ith(self._context, row)
        return int(np.ctypeslib.as_array(logits, shape=(self._vocab,)).argmax())
