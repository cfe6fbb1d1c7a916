"""What the client verbs have in common: arguments, a client, what to say of a generation."""

import argparse
import math
from collections import Counter
from pathlib import Path

from swarm.cli.support.terminal import print_table as print_table  # for verbs with a client, which want these as well
from swarm.cli.support.terminal import run as run
from swarm.client.client import Client
from swarm.generate.local_blocks import parse_local_blocks
from swarm.generate.options import VERIFY
from swarm.results import Audit, Generation
from swarm.verify.audit.auditing import AUDITORS, PEERS
from swarm.verify.audit.judgement import Verdict
from swarm.wire.formats.amounts import format_amount, parse_amount
from swarm.wire.secret import read_secret
from swarm_kernels import QUANTS


def add_client_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("peers").add_argument
    add("--model", default="demo", help="Hugging Face repository, folder of safetensors, .gguf file, or 'demo'")
    add("--revision", metavar="REV", help="branch, tag or commit of a Hugging Face repository")
    add("--peers", nargs="+", metavar="ADDR", help="swarm members (default: SWARM_PEERS, or a swarm on this machine)")
    add("--secret-file", type=Path, metavar="FILE", help="of a private swarm (default: SWARM_SECRET, if set)")
    add("--trusted", nargs="+", metavar="ID", help="use these peers and no others")
    add("--excluded", nargs="+", metavar="ID", default=(), help="never use these peers")
    add("--local-blocks", metavar="N:M", help="compute the first N and the last M blocks here")
    add("--dtype", choices=("float32", "bfloat16"), metavar="TYPE", help="only peers that compute in this")
    add("--quant", choices=QUANTS, metavar="FORMAT", help=f"of weights: {', '.join(QUANTS)}")
    add("--verify", choices=VERIFY, metavar="HOW", help="show text only after a check: receipts, audit or full")
    add("--audit", choices=AUDITORS, default=PEERS, metavar="WHO", help="checks samples: peers (default), local, off")
    add("--sensitive", action="store_true", help="audits show activations to no further peer")
    _add_payment_arguments(parser)
    add = parser.add_argument_group("sampling").add_argument
    add("--max-new-tokens", type=int, default=128, metavar="N", help="(default: 128)")
    add("--temperature", type=float, default=0.0, metavar="T", help="0 is greedy (default)")
    add("--top-k", type=int, metavar="K")
    add("--top-p", type=float, metavar="P")
    add("--repetition-penalty", type=float, default=1.0, metavar="X", help="(default: 1.0, none)")
    add("--seed", type=int, help="makes sampling repeatable")
    add("--stop", nargs="+", metavar="TEXT", help="end before any of these")


def _add_payment_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("paying (amounts in credits, or in nano-credits as 250n)").add_argument
    add(
        "--ledger",
        metavar="WHERE",
        help="a folder, HOST:PORT/FINGERPRINT or evm:FILE.json (default: SWARM_LEDGER; "
        "without, only peers that work for nothing are used)",
    )
    add("--max-price", metavar="AMOUNT", help="of a token through the whole model")
    add("--budget", metavar="AMOUNT", help="spend no more than this in all")
    add("--auction", action="store_true", help="let peers bid, and pay what the runners-up ask")
    add("--priority-fee", "--bid", dest="priority_fee", type=int, default=0, metavar="N",
        help="nano-credits per block-token more, for going first")  # fmt: skip
    add("--min-stake", metavar="AMOUNT", help="that peers must have (default: what their prices call for)")
    add("--allow-unstaked", action="store_true", help="pay peers whatever they have at stake")


def make_client(args: argparse.Namespace) -> Client:
    return Client(
        args.model,
        args.peers,
        args.dtype,
        quant=args.quant,
        revision=args.revision,
        secret=args.secret_file and read_secret(args.secret_file),
        trusted=args.trusted,
        excluded=args.excluded,
        local_blocks=parse_local_blocks(args.local_blocks) if args.local_blocks else (0, 0),
        audit=args.audit,
        ledger=args.ledger,
        max_price=args.max_price and parse_amount(args.max_price),
        budget=args.budget,
        auction=args.auction,
        min_stake=args.min_stake,
        allow_unstaked=args.allow_unstaked,
    )


def generate_options(args: argparse.Namespace) -> dict[str, object]:
    names = ("max_new_tokens", "temperature", "top_k", "top_p", "repetition_penalty", "seed", "stop", "verify",
             "sensitive", "priority_fee")  # fmt: skip
    return {name: getattr(args, name) for name in names}


def describe(generation: Generation) -> str:
    """Route, speed and time to first token, what was signed for and audited, and what it cost, a line each."""
    hops = [f"{hop.blocks[0]}:{hop.blocks[1]} {hop.peer_id[-6:]} ({hop.address})" for hop in generation.route]
    return (
        f"route  {'  ->  '.join(hops)}\n"
        f"speed  {len(generation.token_ids)} tokens, {generation.tokens_per_second:.1f} tokens/s, "
        f"first after {generation.time_to_first_token_s * 1000:.0f} ms\n"
        f"trust  {_describe_trust(generation)}"
        + (f"\npaid   {_describe_payments(generation)}" if generation.payments else "")
    )


def _describe_trust(generation: Generation) -> str:
    """Such as "12 receipts of 3 peers, 1 audit passed"."""
    peers = {signed.peer_id for signed in generation.receipts}
    parts = [f"{_count(len(generation.receipts), 'receipt')} of {_count(len(peers), 'peer')}"]
    verdicts = Counter(audit.verdict for audit in generation.audits)
    words = {Verdict.PASS: "passed", Verdict.SUSPECT: "suspect", Verdict.FAIL: "failed", None: "without a result"}
    parts += [f"{_count(verdicts[verdict], 'audit')} {word}" for verdict, word in words.items() if verdicts[verdict]]
    if generation.faults:
        parts.append(f"{_count(len(generation.faults), 'fault')} ({'; '.join(map(str, generation.faults))})")
    if generation.verified:
        parts.append(f"{_count(generation.verified, 'token')} verified")
    return ", ".join(parts)


def _describe_payments(generation: Generation) -> str:
    """Such as "0.00064 credits for 1,280 block-tokens of 3 peers"."""
    block_tokens = sum(payment.block_tokens for payment in generation.payments)
    peers = len({payment.peer_id for payment in generation.payments})
    return f"{format_amount(generation.cost)} credits for {block_tokens:,} block-tokens of {_count(peers, 'peer')}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def audit_as_json(audit: Audit) -> dict[str, object]:
    """verdict: a Verdict's name, None if nobody could compute it again."""
    judgement = audit.judgement
    return {
        "peer_id": audit.peer_id,
        "blocks": audit.blocks,
        "positions": [audit.position, audit.position + audit.count],
        "by": audit.by,
        "verdict": judgement.verdict.name if judgement else None,
        "method": judgement.method if judgement else None,
        "statistic": judgement.statistic if judgement and math.isfinite(judgement.statistic) else None,
        "reason": judgement.reason if judgement else None,
    }
