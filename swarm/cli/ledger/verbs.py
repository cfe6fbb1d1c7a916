"""`python -m swarm ledger`: what this user owns, owes and has staked, and the book that shows it."""

import argparse
import json

from swarm.cli.ledger.accounts import (
    ADDRESS,
    COLUMNS,
    UNIT,
    Argument,
    account,
    add_verb,
    as_json,
    cells,
    moment,
    opened,
    opened_with,
)
from swarm.cli.ledger.bill import add_bill_verb
from swarm.cli.ledger.book import add_book_verbs
from swarm.cli.ledger.epochs import add_epoch_verbs
from swarm.cli.ledger.owners import pointing_out
from swarm.cli.ledger.serve import add_serve_verb
from swarm.cli.ledger.slash import add_slash_verb
from swarm.cli.support import parsing
from swarm.cli.support.parser import Parser
from swarm.cli.support.terminal import print_table, run
from swarm.errors import InvalidRequest, LedgerRefusal
from swarm.market.ledger.ids import format_address
from swarm.market.ledger.ledger import Channel, Ledger
from swarm.market.ledger.ordered import OrderedLedger
from swarm.wire.formats.amounts import format_amount, format_credits

_TO: Argument = ("to", {"type": account, "metavar": "ADDRESS", "help": "me is one's own"})
_AMOUNT: Argument = ("amount", {"type": parsing.amount, "metavar": "AMOUNT"})


def main(arguments: list[str]) -> int:
    return run(make_parser(), arguments)


def make_parser() -> Parser:
    parser = Parser(
        "ledger",
        description=f"Accounts, channels and stake in a ledger, and its book. Write {parsing.AMOUNTS}; addresses are "
        "0x and 40 hex digits, or peer ids; in JSON, amounts are nano-credits.",
    )
    verbs = parser.add_verbs()
    add_verb(verbs, "balance", _balance, "what an account owns", ADDRESS)
    add_verb(verbs, "mint", _mint, "make new credits (the issuer's; on a chain, pay for them)", _TO, _AMOUNT)
    add_verb(verbs, "transfer", _transfer, "give credits to somebody", _TO, _AMOUNT)
    add_verb(verbs, "redeem", _redeem, "burn credits of a ledger on a chain, and get its currency for them", _AMOUNT)
    stake = verbs.add_parser("stake", help="put credits at stake, and take them back")
    stakes = stake.add_verbs()
    add_verb(stakes, "bond", _bond, "stake credits", _AMOUNT)
    add_verb(stakes, "unbond", _unbond, "begin to take stake back", _AMOUNT)
    add_verb(stakes, "withdraw", _withdraw, "take back what has been unbonding long enough")
    add_verb(stakes, "show", _show_stake, "what is at stake, and what is on its way back", ADDRESS)
    add_slash_verb(verbs)
    channels = add_verb(verbs, "channels", _channels, "escrow for payments, as payer and as payee", ADDRESS)
    channels.add_argument("--all", action="store_true", help="closed ones, too")
    closing = add_verb(
        verbs,
        "close",
        _close,
        "close a channel: at once as its payee; as its payer, ask first, and take the rest after the delay",
    )
    closing.add_argument("channel", metavar="CHANNEL", help="first digits of its id")
    add_book_verbs(verbs)
    add_bill_verb(verbs)
    add_epoch_verbs(verbs)
    add_serve_verb(verbs)
    return parser


# --- money -----------------------------------------------------------------------------------------------------------


def _balance(args: argparse.Namespace) -> None:
    _print_account(args, *opened_with(args, args.address))


def _mint(args: argparse.Namespace) -> None:
    ledger, to = opened_with(args, args.to)
    ledger.mint(to, args.amount)
    _print_account(args, ledger, to)


def _transfer(args: argparse.Namespace) -> None:
    ledger, to = opened_with(args, args.to)
    if to == ledger.address:
        raise InvalidRequest(f"{format_address(to)} is this account itself: nothing moves")
    with pointing_out(ledger, "available"):
        ledger.transfer(to, args.amount)
    _print_account(args, ledger, ledger.address)


def _redeem(args: argparse.Namespace) -> None:
    ledger = opened(args)
    ledger.redeem(args.amount)
    _print_account(args, ledger, ledger.address)


def _print_account(args: argparse.Namespace, ledger: Ledger, address: bytes) -> None:
    account = ledger.account(address)
    if args.json:
        print(json.dumps({"address": format_address(address), "ledger": ledger.id.hex(), **as_json(account)}))
    else:
        print_table(("address", *COLUMNS), [(format_address(address), *cells(account))])
        print(UNIT)


# --- stake -----------------------------------------------------------------------------------------------------------


def _bond(args: argparse.Namespace) -> None:
    ledger = opened(args)
    ledger.bond(args.amount)
    _print_stake(args, ledger, ledger.address)


def _unbond(args: argparse.Namespace) -> None:
    ledger = opened(args)
    with pointing_out(ledger, "staked"):
        ledger.unbond(args.amount)
    _print_stake(args, ledger, ledger.address)


def _withdraw(args: argparse.Namespace) -> None:
    ledger = opened(args)
    amount = ledger.withdraw()
    print(json.dumps({"withdrawn": amount}) if args.json else f"{format_credits(amount)} are back")


def _show_stake(args: argparse.Namespace) -> None:
    _print_stake(args, *opened_with(args, args.address))


def _print_stake(args: argparse.Namespace, ledger: Ledger, address: bytes) -> None:
    account = ledger.account(address)
    parts = ledger.unbonding(address) if isinstance(ledger, OrderedLedger) else []
    if args.json:
        print(json.dumps({
            "address": format_address(address), "staked": account.staked, "unbonding": account.unbonding,
            "parts": [{"amount": amount, "release_s": release_s} for amount, release_s in parts],
        }))  # fmt: skip
        return
    rows = [("staked", format_amount(account.staked), ""), ("unbonding", format_amount(account.unbonding), "")]
    rows += [("", format_amount(amount), f"from {moment(release_s)} on") for amount, release_s in parts]
    print_table((format_address(address), "credits", ""), rows)


# --- channels --------------------------------------------------------------------------------------------------------


def _channels(args: argparse.Namespace) -> None:
    ledger, address = opened_with(args, args.address)
    found = [channel for channel in _channels_of(ledger, address) if args.all or not channel.is_closed]
    if args.json:
        print(*(json.dumps(_channel_as_json(channel)) for channel in found), sep="\n", end="\n" if found else "")
        return
    print_table(("channel", "payer", "payee", "deposit", "paid", "rest", "state"), map(_channel_cells, found))
    print(UNIT)


def _close(args: argparse.Namespace) -> None:
    ledger = opened(args)
    channel = _find(ledger, args.channel)
    if channel.payee == ledger.address:
        ledger.release(channel.id)
        what = "closed"
    elif not channel.closes_at:
        ledger.request_close(channel.id)
        closes_at = _as_it_is(ledger, channel).closes_at
        what = f"asked for; from {moment(closes_at)} on, do this again to get the rest"
    elif ledger.now() < channel.closes_at:
        raise LedgerRefusal(f"the payee may settle until {moment(channel.closes_at)}; do this again then")
    else:
        ledger.close(channel.id)
        what = "closed"
    after = _as_it_is(ledger, channel)
    print(json.dumps(_channel_as_json(after)) if args.json else f"channel {channel.id.hex()}: {what}")


def _as_it_is(ledger: Ledger, channel: Channel) -> Channel:
    """Read again."""
    return ledger.channel(channel.id) or channel


def _channels_of(ledger: Ledger, address: bytes) -> list[Channel]:
    return list(dict.fromkeys([*ledger.channels(payer=address), *ledger.channels(payee=address)]))


def _find(ledger: Ledger, prefix: str) -> Channel:
    """The open channel of one's own whose id begins so. Raises InvalidRequest if there is not exactly one."""
    own = _channels_of(ledger, ledger.address)
    found = [one for one in own if one.id.hex().startswith(prefix.lower()) and not one.is_closed]
    if len(found) != 1:
        whose = format_address(ledger.address)
        raise InvalidRequest(f"{len(found)} open channels of {whose} begin with {prefix!r:.70}; give one's digits")
    return found[0]


def _channel_as_json(channel: Channel) -> dict[str, object]:
    return {
        "id": channel.id.hex(), "payer": format_address(channel.payer), "payee": format_address(channel.payee),
        "deposit": channel.deposit, "paid": channel.paid, "rest": channel.rest, "closes_at": channel.closes_at,
        "is_closed": channel.is_closed,
    }  # fmt: skip


def _channel_cells(channel: Channel) -> tuple[str, ...]:
    state = "closed" if channel.is_closed else f"closes {moment(channel.closes_at)}" if channel.closes_at else "open"
    amounts = map(format_amount, (channel.deposit, channel.paid, channel.rest))
    return channel.id.hex(), format_address(channel.payer), format_address(channel.payee), *amounts, state
