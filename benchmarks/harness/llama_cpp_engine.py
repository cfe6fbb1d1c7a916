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
    """One context for `sessions` sequences of up to `positions` tokens."""

    def __init__(self, path: Path, sessions: int, positions: int, threads: int = 1):
        model_options = llama_cpp.llama_model_default_params()
        self._model = llama_cpp.llama_model_load_from_file(str(path).encode(), model_options)
        options = llama_cpp.llama_context_default_params()
        options.n_ctx, options.n_seq_max = sessions * positions, sessions
        options.n_batch = options.n_ubatch = _PREFILL_TOKENS
        options.n_threads = options.n_threads_batch = threads
        self._context = llama_cpp.llama_init_from_model(self._model, options)
        self._vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self._model))
        self._batch = llama_cpp.llama_batch_init(max(_PREFILL_TOKENS, sessions), 0, 1)

    def close(self) -> None:
        llama_cpp.llama_batch_free(self._batch)
        llama_cpp.llama_free(self._context)
        llama_cpp.llama_model_free(self._model)

    def _prefill(self, sequence: int, tokens: list[int]) -> int:
        """The token that follows."""
        for start in range(0, len(tokens), _PREFILL_TOKENS):
            part = tokens[start : start + _PREFILL_TOKENS]
            rows = [(token, start + index, sequence) for index, token in enumerate(part)]
            self._decode(rows, last_only=True)
        return self._best(len(part) - 1)

    def generate(self, prompts: list[list[int]], count: int) -> tuple[float, list[float]]:
        """Seconds to the first prompt's first token, and of each of `count` steps of one token for every prompt."""
        started = time.perf_counter()
        current = [self._prefill(0, prompts[0])]
        first_token_s = time.perf_counter() - started
        current += [self._prefill(sequence, prompt) for sequence, prompt in enumerate(prompts[1:], 1)]
        seconds = []
        for step in range(count):
            started = time.perf_counter()
            rows = [(token, len(prompts[s]) + step, s) for s, token in enumerate(current)]
            self._decode(rows, last_only=False)
            current = [self._best(row) for row in range(len(rows))]
            seconds.append(time.perf_counter() - started)
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)
        return first_token_s, seconds

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
