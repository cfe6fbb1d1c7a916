"""Arguments as people write them: amounts, sizes, addresses. To be the `type` of an argument; all raise InvalidRequest,
which becomes one line that says what to write. Imports nothing heavy: some verbs are to start at once."""

import ipaddress
import re

from swarm.errors import InvalidRequest
from swarm.wire.formats.amounts import CREDIT, parse_amount

AMOUNTS = "amounts in credits, as 1.5, or in nano-credits, as 250n"
HIGH_PRICE = CREDIT // 1000  # for a token through one block; a thousand times what servers ask by default
_ADDRESS = re.compile(r"(\[[^]]+\]|[^][:/\s]+)(?::(\d+))?")  # HOST[:PORT], with IPv6 in brackets
_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def amount(text: str) -> int:
    """Nano-credits, of "1.5" (credits) or "250n" (nano-credits)."""
    return parse_amount(text)


def price(text: str) -> int:
    """The same, of one token through one block. So much that it can only be a mistake is taken in nano-credits alone:
    formerly, a number without unit was nano-credits."""
    nano = parse_amount(text)
    if nano > HIGH_PRICE and not text.endswith("n"):
        meant = f"for {text} nano-credits, write {text}n" if text.isdigit() else "in nano-credits, write it like 1000n"
        raise InvalidRequest(
            f"{text} credits for one token through one block is more than anybody pays; {meant}, or, if you do mean "
            f"that much, {nano}n"
        )
    return nano


def size(text: str) -> int:
    """Bytes: '512M' -> 536870912."""
    number, unit = text.strip().lower().removesuffix("ib").removesuffix("b"), ""
    if number and number[-1] in _UNITS:
        number, unit = number[:-1], number[-1]
    try:
        return int(float(number) * _UNITS[unit])
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(f"{text!r} is not a size; write it like 512M or 2G") from error


def address(text: str) -> tuple[str, int | None]:
    """'203.0.113.7:4000' -> ('203.0.113.7', 4000), '[2001:db8::1]:4000' -> ('2001:db8::1', 4000); without a port None
    in its place."""
    if _is_ip6(text):
        return text, None
    form = _ADDRESS.fullmatch(text)
    if not form or (text[0] == "[" and not _is_ip6(form[1].strip("[]"))):
        raise InvalidRequest(f"{text!r} is not an address; write HOST, HOST:PORT or [IPV6]:PORT")
    if form[2] and not 0 < int(form[2]) < 65536:
        raise InvalidRequest(f"address {text!r}: {form[2]} is not a port; choose one from 1 to 65535")
    return form[1].strip("[]"), int(form[2]) if form[2] else None


def _is_ip6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
