"""One generation as it grows: tokens, text, times; and the way back to where it was still good."""

import time
from collections.abc import Collection
from dataclasses import dataclass

from swarm.generate.options import GenerateOptions
from swarm.generate.sampler import Sampler
from swarm.generate.text import TextStream, Tokenizer
from swarm.results import Generation


@dataclass(frozen=True)
class _Kept:
    """A state that is good."""

    sampler: Sampler
    text: TextStream
    tokens: int


class Draft:
    """Fills a Generation. What was added since `keep` can be taken back, sampler and text stream with it."""

    def __init__(
        self,
        generation: Generation,
        options: GenerateOptions,
        tokenizer: Tokenizer,
        eos: Collection[int] = (),
    ):
        """eos: tokens that end it."""
        self.generation = generation
        self.sampler = Sampler(options.sampling, generation.prompt_token_ids)
        self._text = TextStream(tokenizer, options.stop)
        self._most = options.max_new_tokens
        self._ends = () if options.ignore_eos else eos
        self._clock = time.perf_counter()  # at the last token
        self._kept: _Kept | None = None

    @property
    def tokens(self) -> list[int]:
        """The prompt's, and those since."""
        return self.generation.prompt_token_ids + self.generation.token_ids

    def wait(self, status: str) -> None:
        """It waits for something else than the next token; "": no longer."""
        self.generation.status = status

    def add(self, token: int) -> str:
        """New text, perhaps empty, after `token`, which may be the last: then `generation.finish_reason` says so."""
        generation, text, now = self.generation, self._text, time.perf_counter()
        if generation.token_ids:
            generation.step_latencies_s.append(now - self._clock)
        else:
            generation.time_to_first_token_s = now - self._clock
        self._clock = now
        generation.token_ids.append(token)
        piece = text.push(token)
        if text.stopped:
            generation.finish_reason = "stop"
        elif token in self._ends:
            generation.finish_reason = "eos"
        elif len(generation.token_ids) == self._most:
            generation.finish_reason = "length"
        if generation.finish_reason:
            piece += text.finish()
        generation.text = text.text
        return piece

    def keep(self) -> None:
        """What there is now is good."""
        self._kept = _Kept(self.sampler.copy(), self._text.copy(), len(self.generation.token_ids))

    def rewind(self) -> None:
        """Back to where `keep` was last called; everything stays if it never was."""
        if (kept := self._kept) is None:
            return
        generation = self.generation
        self.sampler, self._text = kept.sampler.copy(), kept.text.copy()
        del generation.token_ids[kept.tokens :]
        del generation.step_latencies_s[max(kept.tokens - 1, 0) :]
        generation.text, generation.finish_reason = self._text.text, ""
