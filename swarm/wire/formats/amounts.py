"""Money: whole nano-credits, never floating point."""

import re

from swarm import shown
from swarm.errors import InvalidRequest

CREDIT = 10**9  # nano-credits
MAX_AMOUNT = 2**62  # what a ledger may ever have minted: every sum of amounts fits a signed 64-bit integer

_CREDITS = re.compile(r"(\d{1,10})(?:\.(\d{1,9}))?")
_PERCENT = re.compile(r"(\d{1,3})(?:\.(\d{1,4}))?")
_NANO = re.compile(r"(\d{1,19})n")


def parse_amount(text: str) -> int:
    """Nano-credits in "1.5" (credits) or "250n" (nano-credits). Raises InvalidRequest."""
    if match := _NANO.fullmatch(text):
        amount = int(match[1])
    elif match := _CREDITS.fullmatch(text):
        amount = int(match[1]) * CREDIT + int((match[2] or "").ljust(9, "0"))
    else:
        raise InvalidRequest(f"not an amount: {text!r:.40}; write credits, like 1.5, or nano-credits, like 250n")
    return check_amount(amount)


def parse_percent(text: str) -> int:
    """ "0.5" -> 5,000 millionths. Raises InvalidRequest."""
    match = _PERCENT.fullmatch(text)
    millionths = int(match[1]) * 10_000 + int((match[2] or "").ljust(4, "0")) if match else -1
    if not 0 <= millionths <= 1_000_000:
        raise InvalidRequest(f"{text!r:.40} is not a percentage from 0 to 100 with at most four decimals")
    return millionths


def format_amount(amount: int) -> str:
    """In credits, exactly: "1.5"."""
    sign, (whole, nano) = "-" if amount < 0 else "", divmod(abs(amount), CREDIT)
    return f"{sign}{whole}" + (f".{nano:09}".rstrip("0") if nano else "")


def format_credits(amount: int) -> str:
    """The same with its unit: "1 credit", "1.5 credits"."""
    return f"{format_amount(amount)} credit{'' if amount == CREDIT else 's'}"


def format_prices(decode: int, prefill: int) -> str:
    """Nano-credits for a token through a block: of a new one, and of one of a prompt: "1000/50n"."""
    return f"{decode}/{prefill}n"


def check_amount(amount: object) -> int:
    """`amount`, if it is one: a whole number of nano-credits from 0 to MAX_AMOUNT. Raises InvalidRequest."""
    if not isinstance(amount, int) or isinstance(amount, bool) or not 0 <= amount <= MAX_AMOUNT:
        wanted = f"a whole number of nano-credits from 0 to {MAX_AMOUNT}"
        raise InvalidRequest(f"an amount is {wanted}, not {shown.value(amount)}")
    return amount
