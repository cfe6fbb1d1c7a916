"""One generation as it grows: tokens, text, times; and the way back to where it was still good.

Only what may be delivered of it is in the Generation, which may be looked at, and leave with an error, any time.
"""

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
    """What is to become a Generation, which `release` fills. What was added since `keep` can be taken back, sampler and
    text stream with it."""

    def __init__(
        self,
        generation: Generation,
        options: GenerateOptions,
        tokenizer: Tokenizer,
        eos: Collection[int] = (),
    ):
        """eos: tokens that end it."""
        self.generation = generation
        self.token_ids = list(generation.token_ids)  # new ones, those not released yet included
        self.finish_reason = ""
        self._moments: list[float] = []  # when each of them came, by time.perf_counter()
        self.sampler = Sampler(options.sampling, generation.prompt_token_ids)
        self._text = TextStream(tokenizer, options.stop)
        self._most = options.max_new_tokens
        self._ends = () if options.ignore_eos else eos
        self._began = time.perf_counter()
        self._kept: _Kept | None = None

    @property
    def tokens(self) -> list[int]:
        """The prompt's, and those since."""
        return self.generation.prompt_token_ids + self.token_ids

    def wait(self, status: str) -> None:
        """It waits for something else than the next token; "": no longer."""
        self.generation.status = status

    def add(self, token: int) -> str:
        """New text, perhaps empty, after `token`, which may be the last: then `finish_reason` says so."""
        text = self._text
        self._moments.append(time.perf_counter())
        self.token_ids.append(token)
        piece = text.push(token)
        if text.stopped:
            self.finish_reason = "stop"
        elif token in self._ends:
            self.finish_reason = "eos"
        elif len(self.token_ids) == self._most:
            self.finish_reason = "length"
        return piece + (text.finish() if self.finish_reason else "")

    def release(self) -> None:
        """What there is now may be delivered."""
        generation, moments = self.generation, self._moments
        known = len(generation.token_ids)
        if moments and not known:
            generation.time_to_first_token_s = moments[0] - self._began
        first = max(known, 1)
        generation.step_latencies_s += [moments[i] - moments[i - 1] for i in range(first, len(moments))]
        generation.token_ids += self.token_ids[known:]
        generation.text, generation.finish_reason = self._text.text, self.finish_reason

    def keep(self) -> None:
        """What there is now is good."""
        self._kept = _Kept(self.sampler.copy(), self._text.copy(), len(self.token_ids))

    def rewind(self) -> None:
        """Back to where `keep` was last called; everything stays if it never was."""
        if (kept := self._kept) is None:
            return
        self.sampler, self._text = kept.sampler.copy(), kept.text.copy()
        del self.token_ids[kept.tokens :], self._moments[kept.tokens :]
        self.finish_reason = ""
