"""What the verbs that generate have in common: a client by their arguments, see swarm.cli.parsers.clients."""

import argparse
import sys
import warnings
from typing import cast

from swarm.client.client import Client
from swarm.generate.options import GenerateKeywords, WithoutEffect
from swarm.generate.sampling import SamplingOptions
from swarm.session.limits import ClientLimits
from swarm.wire.secret import read_secret


def make_client(args: argparse.Namespace, max_concurrent: int = ClientLimits.max_concurrent) -> Client:
    """By those arguments. max_concurrent: prompts of one call that run at once. Raises SwarmError."""
    return Client(
        args.model,
        args.peers,
        args.dtype,
        quant=args.quant,
        revision=args.revision,
        secret=args.secret_file and read_secret(args.secret_file),
        trusted=args.trusted,
        excluded=args.excluded,
        local_blocks=args.local_blocks or (0, 0),
        receipts=args.receipts,
        audit=args.audit,
        ledger=args.ledger,
        max_price=args.max_price,
        budget=args.budget,
        auction=args.auction,
        min_stake=args.min_stake,
        allow_unstaked=args.allow_unstaked,
        coverage_timeout_s=args.wait,
        max_concurrent=max_concurrent,
    )


def generate_options(args: argparse.Namespace) -> GenerateKeywords:
    """By those arguments, for `generate` and `stream`."""
    names = ("max_new_tokens", "temperature", "top_k", "top_p", "repetition_penalty", "seed", "stop", "verify",
             "sensitive", "priority_fee")  # fmt: skip
    return cast(GenerateKeywords, {name: getattr(args, name) for name in names})


def warn_of_greedy(options: GenerateKeywords) -> None:
    """A line about options that change nothing, instead of Python's two."""
    warnings.simplefilter("ignore", WithoutEffect)
    sampling = SamplingOptions(
        temperature=options.get("temperature") or 0.0, top_k=options.get("top_k"), top_p=options.get("top_p")
    )
    if sampling.without_effect:
        print(f"warning: {sampling.without_effect}", file=sys.stderr)
