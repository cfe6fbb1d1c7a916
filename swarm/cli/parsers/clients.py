"""The arguments that the verbs which generate have in common. Imports nothing heavy."""

import argparse
import os

from swarm.cli.parsers.words import AUDITORS, QUANTS, SERVED_DTYPES, VERIFY
from swarm.cli.support import logs, parsing
from swarm.cli.support.arguments import LEDGER, Renamed, add_members, add_model
from swarm.cli.support.parser import Parser
from swarm.client.terms import check_terms, check_verify
from swarm.session.limits import ClientLimits


def add_client_arguments(
    parser: Parser, max_new_tokens: int = 128, samples_as_model: bool = False, least_new_tokens: int = 1
) -> None:
    """max_new_tokens: by default. samples_as_model: what is not said about sampling is for the model to say.
    least_new_tokens: to be said where it is more than one."""
    peers = parser.add_argument_group("peers")
    add_model(peers)
    add_members(peers)
    add = peers.add_argument
    add("--trusted", nargs="+", type=parsing.peer_name, metavar="ID", help="use these peers and no others")
    add("--excluded", nargs="+", type=parsing.peer_name, metavar="ID", default=(), help="never use these peers")
    wait_s = ClientLimits.coverage_timeout_s
    wait = "at most, for missing peers (default: %(default).0f)"
    add("--wait", type=parsing.seconds, metavar="S", default=wait_s, help=wait)
    add("--local-blocks", type=parsing.two_counts, metavar="N:M", help="compute the first N and the last M blocks here")
    add("--dtype", choices=SERVED_DTYPES, metavar="TYPE", help="only peers that compute in this")
    add("--quant", choices=QUANTS, metavar="FORMAT", help=f"of weights: {', '.join(QUANTS)}")
    add("--verify", choices=VERIFY, metavar="HOW", help="show text only after a check: receipts, audit or full")
    add("--audit", choices=AUDITORS, metavar="WHO", help="checks samples: peers (default), local, off")
    add("--no-receipts", dest="receipts", action="store_false", help="peers sign nothing: no audits, no payment")
    add("--sensitive", action="store_true", help="audits show activations to no further peer")
    _add_payment_arguments(parser)
    temperature, penalty = (None, None) if samples_as_model else (0.0, 1.0)
    whose = " (default: what the model's makers recommend)" if samples_as_model else ""
    least = f"{least_new_tokens} or more " if least_new_tokens > 1 else ""
    add = parser.add_argument_group(f"sampling{whose}").add_argument
    add(
        "--max-new-tokens",
        type=parsing.count,
        default=max_new_tokens,
        metavar="N",
        help=f"{least}(default: %(default)s)",
    )
    greedy = "0 is greedy" if samples_as_model else "0 is greedy (default)"
    add("--temperature", type=parsing.temperature, default=temperature, metavar="T", help=greedy)
    add("--top-k", type=parsing.whole(0), metavar="K", help="from the K likeliest only; 0 is no limit")
    add("--top-p", type=parsing.some_share, metavar="P", help="from the likeliest that make up P")
    add("--repetition-penalty", type=parsing.penalty, default=penalty, metavar="X", help="1.0 is none")
    add("--seed", type=parsing.whole(0, 2**64 - 1), metavar="N", help="makes sampling repeatable")
    add("--stop", nargs="+", type=parsing.some_text, metavar="TEXT", help="end before any of these")
    logs.add_options(parser)
    parser.must(_check_terms)


def _check_terms(args: argparse.Namespace) -> None:
    """Raises InvalidRequest for what does not go together."""
    told = argparse.Namespace(**{**vars(args), "ledger": args.ledger or os.environ.get("SWARM_LEDGER")})
    check_terms(told)
    check_verify(args.verify, args.receipts)


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
