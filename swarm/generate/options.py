"""What callers may ask for: prompts, limits, options, and the check that they make sense."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

from swarm.errors import InvalidRequest
from swarm.generate.sampling import SamplingOptions
from swarm.results import Hop
from swarm.wire.formats.quotes import MAX_PRICE

logger = logging.getLogger(__name__)

VERIFY = ("receipts", "audit", "full")
SAMPLING = frozenset(field.name for field in fields(SamplingOptions))
KNOWN = SAMPLING | {  # keyword arguments of `generate`
    "max_new_tokens", "stop", "ignore_eos", "verify", "sensitive", "through", "priority_fee", "batch",
}  # fmt: skip
Message = Mapping[str, str]  # {"role": "user", "content": "..."}
Prompt = str | Sequence[int] | Sequence[Message]


@dataclass(frozen=True)
class GenerateOptions:
    """What to generate."""

    sampling: SamplingOptions
    max_new_tokens: int = 128
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    verify: str | None = None  # one of VERIFY: text is delivered only after this check
    sensitive: bool = False  # audits show its activations to no further peer
    through: tuple[Hop, ...] = ()  # the chain to take; empty: the best one
    priority_fee: int = 0  # nano-credits per block-token above the price, for going first where peers are full
    background: bool = False  # computed while peers have nothing else to do; waits for room as long as it takes

    def __post_init__(self) -> None:
        """Raises InvalidRequest for values that mean nothing."""
        if not isinstance(self.max_new_tokens, int) or self.max_new_tokens < 1:
            raise InvalidRequest(f"max_new_tokens must be a positive integer, not {self.max_new_tokens!r}")
        if not all(isinstance(text, str) and text for text in self.stop):
            raise InvalidRequest("stop must be a non-empty string, or several")
        if self.verify not in (None, *VERIFY):
            raise InvalidRequest(f"verify is one of {', '.join(VERIFY)}, or None, and not {self.verify!r:.40}")
        if not all(isinstance(hop, Hop) for hop in self.through):
            raise InvalidRequest("through is a list of swarm.Hop, such as the route of another generation")
        fee = self.priority_fee
        if not isinstance(fee, int) or not 0 <= fee <= MAX_PRICE:
            raise InvalidRequest(
                f"priority_fee is whole nano-credits per block-token up to {MAX_PRICE}, not {fee!r:.30}"
            )


def parse_options(options: Mapping[str, Any]) -> GenerateOptions:
    """Keyword arguments of `generate`, checked. Raises InvalidRequest."""
    rest = dict(options)
    if "bid" in rest:
        _warn_of_bid()
        rest.setdefault("priority_fee", rest.pop("bid"))
    if unknown := sorted(set(rest) - KNOWN):
        raise InvalidRequest(f"unknown option {unknown[0]!r}; the options are {', '.join(sorted(KNOWN))}")
    stop = rest.pop("stop", None)
    return GenerateOptions(
        sampling=SamplingOptions(**{name: rest.pop(name) for name in SAMPLING & rest.keys()}),
        stop=(stop,) if isinstance(stop, str) else tuple(stop or ()),
        ignore_eos=bool(rest.pop("ignore_eos", False)),
        sensitive=bool(rest.pop("sensitive", False)),
        through=tuple(rest.pop("through", ())),
        background=bool(rest.pop("batch", False)),
        **rest,
    )


def _warn_of_bid() -> None:
    what = "the option bid is called priority_fee now, and will be gone in the next release"
    logger.warning(what)
    warnings.warn(what, DeprecationWarning, stacklevel=4)  # of whoever called `generate`


def is_batch(prompt: object) -> bool:
    """Whether `prompt` is a list of prompts rather than one."""
    if isinstance(prompt, str) or not isinstance(prompt, Sequence) or not prompt:
        return False
    return isinstance(prompt[0], str) or (isinstance(prompt[0], Sequence) and not isinstance(prompt[0], Mapping))


def as_prompts(prompt: Prompt | Sequence[Prompt]) -> Sequence[Prompt]:
    """One prompt as a list of one."""
    return cast(Sequence[Prompt], prompt if is_batch(prompt) else [prompt])
