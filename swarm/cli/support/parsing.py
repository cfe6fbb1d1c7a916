"""Arguments as people write them: amounts, sizes, addresses. To be the `type` of an argument; all raise InvalidRequest,
which becomes one line that says what to write. Imports nothing heavy: some verbs are to start at once."""

import ipaddress
import math
import os
import re
from collections.abc import Callable

from swarm.errors import InvalidRequest
from swarm.generate.sampling import COLDEST, PENALTIES
from swarm.sizes import size as size
from swarm.wire.formats.amounts import CREDIT, parse_amount
from swarm.wire.hosts import check_peer_address
from swarm.wire.peer_names import check_peer_name

AMOUNTS = "amounts in credits, as 1.5, or in nano-credits, as 250n"
HIGH_PRICE = CREDIT // 1000  # for a token through one block; a thousand times what servers ask by default
_ADDRESS = re.compile(r"(\[[^]]+\]|[^][:/\s]+)(?::(\d+))?")  # HOST[:PORT], with IPv6 in brackets
_HOST = re.compile(r"[^][:/\s]+")
_DEVICE = re.compile(r"cpu|cuda(?::\d{1,3})?")
_BLOCKS = re.compile(r"\s*(\d{1,9})\s*:\s*(\d{1,9})\s*", re.ASCII)
_THREADS_A_PROCESSOR = 8  # at most: with more, a machine does nothing but change between them


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


def whole(least: int, most: int = 2**63 - 1) -> Callable[[str], int]:
    """A type for whole numbers from `least` to `most`."""

    def convert(text: str) -> int:
        try:
            found = int(text)
        except ValueError as error:
            raise InvalidRequest(f"{text!r:.40} is not a whole number") from error
        if not least <= found <= most:
            raise InvalidRequest(
                f"must be {_at_least(least) if found < least else f'{most:,} at most'}, not {text:.40}"
            )
        return found

    return convert


def _at_least(least: int) -> str:
    return "positive" if least == 1 else f"{least} or more"


count = whole(1)


def threads(text: str) -> int:
    """To compute with."""
    found, processors = count(text), os.cpu_count() or 1
    if found > _THREADS_A_PROCESSOR * processors:
        raise InvalidRequest(
            f"{text} are too many for this machine's {processors} processors; as many or fewer do best"
        )
    return found


def port(text: str) -> int:
    """0 is any."""
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and int(text) < 65536):
        raise InvalidRequest(f"{text:.40} is not a port; choose one from 1 to 65535, or 0 for any")
    return int(text)


def _number(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise InvalidRequest(f"must be a number of seconds, not {text:.40}")
    return found


def seconds(text: str) -> float:
    """0 or more."""
    if (found := _number(text)) < 0:
        raise InvalidRequest(f"must be a number of seconds, 0 or more, not {text:.40}")
    return found


def some_seconds(text: str) -> float:
    """More than 0."""
    if (found := _number(text)) <= 0:
        raise InvalidRequest(f"must be positive, not {text:.40}")
    return found


def _figure(text: str, wanted: str, fits: Callable[[float], bool]) -> float:
    try:
        found = float(text)
    except ValueError as error:
        raise InvalidRequest(f"{text!r:.40} is not a number") from error
    if not fits(found):
        raise InvalidRequest(f"must be {wanted}, not {text:.40}")
    return found


def temperature(text: str) -> float:
    """0 is greedy."""
    wanted = f"0, which is greedy, or a number from {COLDEST:g} up"
    return _figure(text, wanted, lambda found: found == 0 or COLDEST <= found < math.inf)


def share(text: str) -> float:
    """0 to 1."""
    return _figure(text, f"a share from 0 to 1{_percent(text)}", lambda found: 0 <= found <= 1)


def some_share(text: str) -> float:
    """More than 0."""
    return _figure(text, f"a share above 0, and 1 at most{_percent(text)}", lambda found: 0 < found <= 1)


def _percent(text: str) -> str:
    """What is meant by a share that is written so."""
    return f" (0.{int(text):02} for {text} %)" if re.fullmatch(r"[1-9]\d", text) else ""


def penalty(text: str) -> float:
    """For repetition."""
    least, most = PENALTIES
    return _figure(text, f"a number from {least:g} to {most:g}", lambda found: least <= found <= most)


def some_text(text: str) -> str:
    """Not empty."""
    if not text:
        raise InvalidRequest("is empty")
    return text


def peer_name(text: str) -> str:
    """A peer's id, or the end of one."""
    return check_peer_name(text)


def host(text: str) -> str:
    """Of this machine: an address or a name, without a port."""
    if not _HOST.fullmatch(text) and not _is_ip6(text):
        raise InvalidRequest(
            f"{text!r:.60} is not a host; write an address, like 0.0.0.0, or a name, and the port with --port"
        )
    return text


def hours(text: str) -> float:
    """More than 0."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not (math.isfinite(found) and found > 0):
        raise InvalidRequest(f"must be a number of hours above 0, not {text:.40}")
    return found


def blocks(text: str) -> tuple[int, int]:
    """'0:20' -> (0, 20), blocks 0 to 19."""
    form = _BLOCKS.fullmatch(text)
    if form is None:
        raise InvalidRequest(f"{text!r:.60} is not a range like 0:20 (blocks 0 to 19)")
    start, stop = int(form[1]), int(form[2])
    if start > stop:
        raise InvalidRequest(f"blocks {start}:{stop} are reversed; did you mean {stop}:{start}?")
    if start == stop:
        raise InvalidRequest(f"blocks {start}:{stop} are no blocks: the range ends where it begins")
    return start, stop


def device(text: str) -> str:
    """'cpu', 'cuda' or 'cuda:1'. What is written gpu is CUDA: other GPUs are not supported."""
    name = re.sub("^gpu", "cuda", text.strip().lower())
    if not _DEVICE.fullmatch(name):
        raise InvalidRequest(f"{text!r:.40} is not a device; write cpu, cuda, or cuda:1 for the second GPU")
    return name


def peer(text: str) -> str:
    """A multiaddress of a swarm's member."""
    check_peer_address(text)
    return text


def two_counts(text: str) -> tuple[int, int]:
    """'2:1' -> (2, 1), the first two blocks and the last one."""
    form = _BLOCKS.fullmatch(text)
    if form is None:
        raise InvalidRequest(f"local blocks {text!r:.60} are not two counts like 2:1 (the first two and the last one)")
    return int(form[1]), int(form[2])


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
