"""The options of `swarm.Client` by name and type, for type checkers and editors, and what others call them.

swarm/client/config.py has what they mean, their defaults and their checks; tests hold the two to each other.
"""

import os
from collections.abc import Callable, Iterable
from typing import Literal, TypedDict

from swarm.wire.formats.facts import Facts

Auditor = Literal["peers", "local", "off"]  # who recomputes samples of the work


class LimitKeywords(TypedDict, total=False):
    """The fields of swarm.session.limits.ClientLimits."""

    open_timeout_s: float
    step_timeout_s: float
    busy_timeout_s: float
    bidding_s: float
    coverage_timeout_s: float
    max_reroutes: int
    max_concurrent: int
    local_kv_bytes: int


class ClientKeywords(LimitKeywords, total=False):
    """The fields of ClientConfig beside model, peers and dtype, and those of its limits."""

    secret: str | None
    revision: str | None
    quant: str | None
    head: str | None
    local_blocks: tuple[int, int] | str
    wire_dtype: str | None
    numerics_id: str | None
    trusted: str | Iterable[str] | None
    excluded: str | Iterable[str] | None
    attestation: Callable[[Facts, bytes], bool] | None
    receipts: bool
    audit: Auditor | None
    audit_rate: float | None
    ledger: str | os.PathLike[str] | None
    budget: int | str | None
    max_price: int | str | None
    seconds_per_credit: float
    auction: bool
    min_stake: int | str | None
    allow_unstaked: bool


_OF_GENERATE = "it is an option of generate and stream"
_TOKEN = (
    "for a model of the hub, HF_TOKEN in the environment is the token; the secret of a private swarm is called secret"
)
HINTS = {  # what other libraries call it -> its name here, or what to do
    **dict.fromkeys(
        ("model_name", "model_id", "model_path", "model_name_or_path", "pretrained_model_name_or_path", "repo_id",
         "repo", "checkpoint", "name"),
        "model",
    ),
    **dict.fromkeys(
        ("peer", "initial_peers", "bootstrap_peers", "address", "addresses", "servers", "server", "host", "base_url",
         "url"),
        "peers",
    ),
    **dict.fromkeys(("torch_dtype", "precision"), "dtype"),
    **dict.fromkeys(("quantization", "quantisation", "load_in_8bit", "load_in_4bit", "quantization_config"), "quant"),
    **dict.fromkeys(("token", "hf_token", "api_key", "auth_token", "use_auth_token"), _TOKEN),
    **dict.fromkeys(("timeout", "request_timeout", "timeout_s"), "step_timeout_s"),
    **dict.fromkeys(("wait", "wait_s"), "coverage_timeout_s"),
    **dict.fromkeys(("max_retries", "retries"), "max_reroutes"),
    **dict.fromkeys(("concurrency", "max_workers", "batch_size"), "max_concurrent"),
    **dict.fromkeys(("commit", "branch", "tag"), "revision"),
    **dict.fromkeys(("allowed", "allow", "only"), "trusted"),
    **dict.fromkeys(("blocked", "exclude", "banned"), "excluded"),
    "no_receipts": "receipts=False does that",
    **dict.fromkeys(("threads", "num_threads", "memory", "kv_memory"), "it is an option of servers: swarm.LocalSwarm"),
    **dict.fromkeys(("device", "device_map"), "the client's part of the model is computed on the processor"),
    **dict.fromkeys(
        ("temperature", "top_k", "top_p", "max_new_tokens", "max_tokens", "seed", "stop", "verify", "sensitive",
         "through", "priority_fee", "repetition_penalty", "ignore_eos", "batch"),
        _OF_GENERATE,
    ),
}  # fmt: skip
