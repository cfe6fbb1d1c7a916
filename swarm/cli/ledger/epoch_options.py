"""Options that say what an epoch's emission is: of `swarm ledger serve` and `swarm ledger epoch`."""

import argparse

from swarm.cli.support import parsing
from swarm.errors import InvalidRequest
from swarm.market.pricing.contribution import Contribution
from swarm.market.pricing.market import Market
from swarm.market.pricing.policy import Pricing
from swarm.market.rewards.closing import MODES, REVEAL_S, Plan
from swarm.market.rewards.rewards import Rewards
from swarm.wire.formats.amounts import parse_percent
from swarm.wire.formats.quotes import FREE

MINTS = "50"  # per cent


def add_plan_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--emission", type=parsing.amount, metavar="AMOUNT", help="mint at most so much for each epoch")
    add(
        "--pricing",
        choices=MODES,
        default="market",
        help="what an emission is decided by (default: %(default)s): "
        "market mints a part of what was burned, for those whose work it was burned for; rewards, by validators' "
        "scores; contribution, points, by what clients acknowledged",
    )
    add(
        "--mints",
        type=parse_percent,
        metavar="PERCENT",
        default=MINTS,
        help="market: so much of what was burned (default: %(default)s)",
    )
    add(
        "--validators",
        type=parse_percent,
        metavar="PERCENT",
        default="50",
        help="rewards: so much of the emission is for validators (default: %(default)s)",
    )
    add(
        "--server-stake",
        type=parsing.amount,
        metavar="AMOUNT",
        default="1n",
        help="rewards: what a server must have at stake (default: %(default)s)",
    )
    add(
        "--reveal",
        type=int,
        default=REVEAL_S,
        metavar="S",
        help="after an epoch's end, what was committed to may be revealed for so long (default: %(default)s)",
    )


def plan_of(args: argparse.Namespace) -> Plan:
    """Raises InvalidRequest."""
    if args.emission is None:
        raise InvalidRequest("say how much an epoch may mint at most, with --emission AMOUNT")
    return Plan(_pricing(args), args.emission, args.reveal)


def _pricing(args: argparse.Namespace) -> Pricing:
    if args.pricing == "market":
        return Market(FREE, mints_ppm=args.mints)
    if args.pricing == "contribution":
        return Contribution()
    servers_ppm = parse_percent("100") - args.validators
    return Rewards(FREE, servers_ppm, args.server_stake)
