"""What callers may ask for: prompts, limits, options, and the check that they make sense."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal, Protocol, TypedDict, get_args

from swarm import kinds
from swarm.errors import InvalidRequest
from swarm.generate.sampling import SamplingOptions
from swarm.results import Hop
from swarm.wire.formats.quotes import MAX_PRICE
from swarm.wire.peer_names import check_peer_names

logger = logging.getLogger(__name__)

Verify = Literal["receipts", "audit", "full"]
VERIFY = get_args(Verify)
SAMPLING = frozenset(field.name for field in fields(SamplingOptions))

_said: set[str] = set()  # of what was warned in this process


class WithoutEffect(UserWarning):
    """Of options that change nothing. The command line says so in words of its own."""


class Array(Protocol):
    """Of numpy, torch or the like: whole numbers, [n] or [1, n]."""

    @property
    def ndim(self) -> int: ...

    def tolist(self) -> Any: ...


Message = Mapping[str, str]  # {"role": "user", "content": "..."}
Encoding = Mapping[str, Any]  # what a tokenizer returns: {"input_ids": ...}
Prompt = str | Sequence[int] | Array | Sequence[Message] | Encoding


class GenerateKeywords(TypedDict, total=False):
    """Options of `generate` and `stream`; tests hold their names and types to those of GenerateOptions."""

    max_new_tokens: int  # at most
    temperature: float  # 0: greedy
    top_k: int | None
    top_p: float | None
    repetition_penalty: float
    seed: int | None
    stop: str | Sequence[str] | None  # the text ends before it
    ignore_eos: bool  # go on after the model's end token
    verify: Verify | None  # text is delivered only after this check
    sensitive: bool  # audits show its activations to no further peer
    through: Sequence[Hop]  # the chain to begin with
    priority_fee: int | str  # per block-token above the price: nano-credits, or credits as text
    batch: bool  # computed while peers have nothing else to do


@dataclass(frozen=True)
class GenerateOptions:
    """What to generate. Raises InvalidRequest for values that mean nothing."""

    sampling: SamplingOptions
    max_new_tokens: int = 128
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    verify: Verify | None = None  # text is delivered only after this check
    sensitive: bool = False  # audits show its activations to no further peer
    through: tuple[Hop, ...] = ()  # the chain to take; empty: the best one
    priority_fee: int = 0  # nano-credits per block-token above the price, for going first where peers are full
    background: bool = False  # computed while peers have nothing else to do; waits for room as long as it takes

    def __post_init__(self) -> None:
        kinds.settle(self, _KINDS)


def _chain(name: str, value: object) -> tuple[Hop, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(hop, Hop) for hop in value):
        raise kinds.refused(name, "a list of swarm.Hop, such as the route of another generation", value)
    check_peer_names(hop.peer_id for hop in value)
    return tuple(value)


def _fee(name: str, value: object) -> int:
    nano = kinds.amount(name, value)
    if nano > MAX_PRICE:
        raise InvalidRequest(f"{name} is {nano:,}n a block-token; {MAX_PRICE:,}n is the most that is taken")
    return nano


_KINDS: dict[str, kinds.Kind] = {
    "max_new_tokens": kinds.whole(1),
    "stop": kinds.optional(kinds.texts, ()),
    "ignore_eos": kinds.flag,
    "verify": kinds.optional(kinds.one_of(VERIFY)),
    "sensitive": kinds.flag,
    "through": kinds.optional(_chain, ()),
    "priority_fee": _fee,
    "background": kinds.flag,
}
KNOWN = SAMPLING | (_KINDS.keys() - {"background"}) | {"batch"}  # keyword arguments of `generate`

_ONE_OF_CLIENT = "it is told to swarm.Client, and counts for all that this generates"
_SEVERAL = "for several answers, give a list with the prompt several times, and a temperature"
_HINTS = {  # what other libraries call it -> its name here, or what to do
    **dict.fromkeys(
        ("max_tokens", "max_length", "max_completion_tokens", "max_output_tokens", "max_gen_len", "max_new",
         "n_predict", "num_predict", "num_tokens", "length"),
        "max_new_tokens",
    ),
    **dict.fromkeys(("temp", "t"), "temperature"),
    **dict.fromkeys(("k", "topk"), "top_k"),
    **dict.fromkeys(("p", "topp"), "top_p"),
    **dict.fromkeys(
        ("stop_sequences", "stop_sequence", "stop_strings", "stop_words", "stop_token", "stopping_criteria", "until"),
        "stop",
    ),
    **dict.fromkeys(("random_seed", "manual_seed", "random_state", "generator"), "seed"),
    **dict.fromkeys(("repeat_penalty", "frequency_penalty", "presence_penalty", "penalty"), "repetition_penalty"),
    **dict.fromkeys(("n", "num_return_sequences", "best_of", "num_beams", "n_best"), _SEVERAL),
    **dict.fromkeys(("model", "model_name", "peers", "dtype", "quant", "audit", "ledger", "budget", "max_price",
                     "secret", "local_blocks", "receipts", "excluded", "trusted"), _ONE_OF_CLIENT),
    **dict.fromkeys(("logprobs", "top_logprobs", "output_scores", "output_logits", "return_dict_in_generate"),
                    "a generation has its tokens, and no probabilities of them"),
    "do_sample": "a temperature above 0 samples, and 0 is greedy",
    "stream": "client.stream(...) gives the text as it comes",
    "streamer": "client.stream(...) gives the text as it comes",
    "messages": "a conversation is given as the prompt: generate([{'role': 'user', 'content': '...'}])",
    "input_ids": "token ids are given as the prompt: generate([1, 2, 3])",
    "inputs": "it is given as the prompt, without a name",
    "system": "a system message is part of the conversation: generate([{'role': 'system', 'content': '...'}, ...])",
    "attention_mask": "give the tokenizer's output as the prompt, whole",
    "timeout": "swarm.Client(step_timeout_s=...) says how long an answer may take",
    "eos_token_id": "ignore_eos=True goes on after the model's own end tokens, and stop ends at a text",
}  # fmt: skip


def defaults() -> dict[str, object]:
    """Of the keyword arguments of `generate`."""
    both = [*fields(SamplingOptions), *fields(GenerateOptions)]
    found = {field.name: field.default for field in both if field.default is not MISSING}
    return {**found, "stop": None, "batch": found["background"]}


def parse_options(options: Mapping[str, Any]) -> GenerateOptions:
    """Keyword arguments of `generate`, checked. Raises InvalidRequest."""
    rest = dict(options)
    if "bid" in rest:
        _warn_of_bid()
        rest.setdefault("priority_fee", rest.pop("bid"))
    if strange := sorted(set(rest) - KNOWN):
        raise kinds.unknown(strange[0], KNOWN, _HINTS, "swarm.Client.generate")
    sampling = SamplingOptions(**{name: rest.pop(name) for name in SAMPLING & rest.keys()})
    if sampling.without_effect:
        _warn_of(sampling.without_effect)
    background = kinds.flag("batch", rest.pop("batch", False))
    return GenerateOptions(sampling, background=background, **rest)


def _warn_of_bid() -> None:
    what = "the option bid is called priority_fee now, and will be gone in the next release"
    logger.warning(what)
    warnings.warn(what, DeprecationWarning, stacklevel=4)  # of whoever called `generate`


def _warn_of(what: str) -> None:
    """Once in a process: not for each of many prompts."""
    if what not in _said:
        _said.add(what)
        warnings.warn(what, WithoutEffect, stacklevel=5)
