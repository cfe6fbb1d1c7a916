"""What the verbs that generate have in common: arguments, and a client by them."""

import argparse

from swarm.cli.support import logs, parsing
from swarm.cli.support.arguments import LEDGER, Renamed, add_members, add_model, check_wait
from swarm.client.client import Client
from swarm.client.config import AUDITORS
from swarm.generate.local_blocks import parse_local_blocks
from swarm.generate.options import VERIFY
from swarm.session.limits import ClientLimits
from swarm.wire.secret import read_secret
from swarm_kernels import QUANTS


def add_client_arguments(parser: argparse.ArgumentParser) -> None:
    peers = parser.add_argument_group("peers")
    add_model(peers)
    add_members(peers)
    add = peers.add_argument
    add("--trusted", nargs="+", metavar="ID", help="use these peers and no others")
    add("--excluded", nargs="+", metavar="ID", default=(), help="never use these peers")
    wait_s = ClientLimits.coverage_timeout_s
    add("--wait", type=float, metavar="S", default=wait_s, help="at most, for missing peers (default: %(default).0f)")
    add("--local-blocks", metavar="N:M", help="compute the first N and the last M blocks here")
    add("--dtype", choices=("float32", "bfloat16"), metavar="TYPE", help="only peers that compute in this")
    add("--quant", choices=QUANTS, metavar="FORMAT", help=f"of weights: {', '.join(QUANTS)}")
    add("--verify", choices=VERIFY, metavar="HOW", help="show text only after a check: receipts, audit or full")
    add("--audit", choices=AUDITORS, metavar="WHO", help="checks samples: peers (default), local, off")
    add("--no-receipts", dest="receipts", action="store_false", help="peers sign nothing: no audits, no payment")
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
    logs.add_options(parser)


def _add_payment_arguments(parser: argparse.ArgumentParser) -> None:
    add, amount = parser.add_argument_group(f"paying ({parsing.AMOUNTS})").add_argument, parsing.amount
    add("--ledger", metavar="WHERE", help=f"{LEDGER} (default: SWARM_LEDGER, or nobody is paid)")
    add("--max-price", type=amount, metavar="AMOUNT", help="of a token through the whole model")
    add("--budget", type=amount, metavar="AMOUNT", help="spend no more than this in all")
    add("--auction", action="store_true", help="let peers bid, and pay what the runners-up ask")
    fee = "on top of a block-token's price, for going first"
    add("--priority-fee", type=parsing.price, default=0, metavar="FEE", help=fee)
    add("--bid", type=parsing.price, action=Renamed, dest="priority_fee")
    add("--min-stake", type=amount, metavar="AMOUNT", help="that peers must have (default: what their prices call for)")
    add("--allow-unstaked", action="store_true", help="pay peers whatever they have at stake")


def make_client(args: argparse.Namespace) -> Client:
    """By those arguments. Raises SwarmError."""
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
        receipts=args.receipts,
        audit=args.audit,
        ledger=args.ledger,
        max_price=args.max_price,
        budget=args.budget,
        auction=args.auction,
        min_stake=args.min_stake,
        allow_unstaked=args.allow_unstaked,
        coverage_timeout_s=check_wait(args.wait),
    )


def generate_options(args: argparse.Namespace) -> dict[str, object]:
    """By those arguments, for `generate` and `stream`."""
    names = ("max_new_tokens", "temperature", "top_k", "top_p", "repetition_penalty", "seed", "stop", "verify",
             "sensitive", "priority_fee")  # fmt: skip
    return {name: getattr(args, name) for name in names}
