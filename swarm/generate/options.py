"""What callers may ask for: prompts, limits, options, and the check that they make sense."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from swarm.errors import InvalidRequest
from swarm.generate.sampling import SamplingOptions
from swarm.results import Hop
from swarm.wire.formats.quotes import MAX_PRICE

VERIFY = ("receipts", "audit", "full")
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
    bid: int = 0  # nano-credits per block-token above the price, for going first where peers are full
    batch: bool = False  # computed while peers have nothing else to do; waits for room as long as it takes


def parse_options(options: dict[str, object]) -> GenerateOptions:
    """Keyword arguments of `generate`, checked. Raises InvalidRequest."""
    known = {
        "max_new_tokens",
        "temperature",
        "top_k",
        "top_p",
        "repetition_penalty",
        "stop",
        "seed",
        "ignore_eos",
        "verify",
        "sensitive",
        "through",
        "bid",
        "batch",
    }
    if unknown := sorted(set(options) - known):
        raise InvalidRequest(f"unknown option {unknown[0]!r}; the options are {', '.join(sorted(known))}")
    rest = dict(options)
    count = rest.pop("max_new_tokens", 128)
    if not isinstance(count, int) or count < 1:
        raise InvalidRequest(f"max_new_tokens must be a positive integer, not {count!r}")
    stop = rest.pop("stop", None)
    stop = (stop,) if isinstance(stop, str) else tuple(stop or ())
    if not all(isinstance(text, str) and text for text in stop):
        raise InvalidRequest("stop must be a non-empty string, or several")
    verify = rest.pop("verify", None)
    if verify not in (None, *VERIFY):
        raise InvalidRequest(f"verify is one of {', '.join(VERIFY)}, or None, and not {verify!r:.40}")
    through = tuple(rest.pop("through", ()))
    if not all(isinstance(hop, Hop) for hop in through):
        raise InvalidRequest("through is a list of swarm.Hop, such as the route of another generation")
    bid, batch = rest.pop("bid", 0), bool(rest.pop("batch", False))
    if not isinstance(bid, int) or not 0 <= bid <= MAX_PRICE:
        raise InvalidRequest(f"bid is whole nano-credits per block-token up to {MAX_PRICE}, not {bid!r:.30}")
    ignore_eos, sensitive = bool(rest.pop("ignore_eos", False)), bool(rest.pop("sensitive", False))
    return GenerateOptions(SamplingOptions(**rest), count, stop, ignore_eos, verify, sensitive, through, bid, batch)


def is_batch(prompt: object) -> bool:
    """Whether `prompt` is a list of prompts rather than one."""
    if isinstance(prompt, str) or not isinstance(prompt, Sequence) or not prompt:
        return False
    return isinstance(prompt[0], str) or (isinstance(prompt[0], Sequence) and not isinstance(prompt[0], Mapping))
