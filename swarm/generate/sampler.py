"""Choosing the next token from logits: pure functions of logits, history and a seeded generator."""

import copy
from collections.abc import Iterable

import torch

from swarm.generate.sampling import SamplingOptions


class Sampler:
    """Chooses one generation's tokens, one after the other."""

    def __init__(self, options: SamplingOptions, prompt: Iterable[int]):
        self._options = options
        self._seen = set(prompt)
        self._generator = torch.Generator()
        if options.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(options.seed)

    def copy(self) -> "Sampler":
        """One that goes on from here by itself."""
        twin = copy.copy(self)
        twin._seen, twin._generator = set(self._seen), torch.Generator()
        twin._generator.set_state(self._generator.get_state())
        return twin

    def pick(self, logits: torch.Tensor) -> int:
        """The next token. logits: [vocab] float32, not modified."""
        options = self._options
        if options.repetition_penalty != 1.0:
            logits = penalise(logits, self._seen, options.repetition_penalty)
        if options.temperature == 0:
            token = int(logits.argmax())
        else:
            probabilities = torch.softmax(
                keep_top_p(keep_top_k(logits / options.temperature, options.top_k), options.top_p), dim=-1
            )
            token = int(torch.multinomial(probabilities, 1, generator=self._generator))
        self._seen.add(token)
        return token


def penalise(logits: torch.Tensor, seen: Iterable[int], penalty: float) -> torch.Tensor:
    """[vocab] -> [vocab]: logits of tokens in `seen` divided by `penalty` where positive, multiplied where negative."""
    ids = torch.tensor(sorted(seen), dtype=torch.long)
    values = logits[ids]
    return logits.index_copy(0, ids, torch.where(values < 0, values * penalty, values / penalty))


def keep_top_k(logits: torch.Tensor, k: int | None) -> torch.Tensor:
    """[vocab] -> [vocab]: all but the k largest become -inf."""
    if k is None or k >= len(logits):
        return logits
    return logits.masked_fill(logits < torch.topk(logits, k).values[-1], -torch.inf)


def keep_top_p(logits: torch.Tensor, p: float | None) -> torch.Tensor:
    """[vocab] -> [vocab]: keep the fewest tokens whose probabilities add up to at least p, and always one."""
    if p is None or p >= 1:
        return logits
    ordered, order = torch.sort(logits)  # ascending: what falls below 1 - p goes
    drop = torch.softmax(ordered, dim=-1).cumsum(dim=-1) <= 1 - p
    drop[-1] = False
    return logits.masked_fill(drop.scatter(0, order, drop), -torch.inf)
