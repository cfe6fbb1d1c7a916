"""Receipts in a file that people can read and anybody can check: JSON Lines, one receipt a line.

Every line has the receipt's members in words and its canonical bytes as `receipt`. Only these are signed; the words are
there to be read, and a file whose words say anything else is refused. What they show is in report.py.
"""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from swarm.errors import InvalidRequest, SwarmError, UnusableFile
from swarm.storage.outputs import output
from swarm.storage.pipes import open_named
from swarm.wire.formats.receipts import SignedReceipt

MAX_LINE_BYTES = 4096  # of which a receipt in words and hexadecimal takes less than 3 KiB
MAX_RECEIPTS = 50_000  # in one file: a session of a million tokens over three hops takes 100 MB of memory


def save_receipts(receipts: Iterable[SignedReceipt], path: Path | str) -> None:
    """Write receipts, such as a generation's, for `python -m swarm receipts verify`. Raises SwarmError if that cannot
    be done."""
    try:
        with output(path) as file:
            file.writelines(f"{line}\n".encode("ascii") for line in lines(receipts))
    except OSError as error:
        raise SwarmError(f"the receipts cannot be written to {path}: {error.strerror}") from error


def load_receipts(path: Path | str) -> list[SignedReceipt]:
    """Those in a file of `save_receipts`, which is untrusted. Raises UnusableFile if it cannot be read, or naming the
    first line that is no receipt, or not signed by the peer that it names."""
    try:
        with open_named(Path(path)) as file:
            return list(read_lines(file, str(path)))
    except OSError as error:
        raise UnusableFile(f"{path} cannot be read: {error.strerror}") from error


def lines(receipts: Iterable[SignedReceipt]) -> Iterator[str]:
    """The same, without the newlines."""
    for signed in receipts:
        yield json.dumps({**in_words(signed), "receipt": signed.encode().hex()})


def read_lines(file: BinaryIO, name: str) -> Iterator[SignedReceipt]:
    """The other way; see `load_receipts`. name: of the file, for messages."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        try:
            if number > MAX_RECEIPTS:
                raise InvalidRequest(f"more than {MAX_RECEIPTS:,} receipts; write a session a file")
            yield _parse_line(line)
        except InvalidRequest as error:
            raise UnusableFile(f"{name}, line {number}: {error}") from error


def in_words(signed: SignedReceipt) -> dict[str, object]:
    """A receipt's members, for people. Hashes are hexadecimal; times are UTC."""
    receipt, terms = signed.receipt, signed.receipt.terms
    hashes = ("inputs", "outputs", "context", "sketch", "upstream", "previous")
    return {
        "peer": signed.peer_id,
        "session": terms.session.hex(),
        "attempt": terms.attempt,
        "index": receipt.index,
        "blocks": [terms.start, terms.stop],
        "positions": [receipt.position, receipt.stop_position],
        "weights": terms.weights.hex(),
        "format": terms.format,
        "numerics": terms.numerics_id,
        "wire_dtype": terms.wire_dtype,
        **{name: getattr(receipt, name).hex() for name in hashes},
        "quote": terms.quote.hex(),
        "time": _time(receipt.time_ms),
    }


def _parse_line(line: bytes) -> SignedReceipt:
    if len(line) > MAX_LINE_BYTES:
        raise InvalidRequest(f"longer than {MAX_LINE_BYTES} bytes, which no receipt is")
    try:
        entry = json.loads(line)
        data = bytes.fromhex(entry.pop("receipt"))
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise InvalidRequest("not a JSON object with a hexadecimal 'receipt'") from error
    signed = SignedReceipt.decode(data)
    words = in_words(signed)
    if entry != words:
        wrong = next((name for name in words if entry.get(name) != words[name]), "members")
        raise InvalidRequest(f"its {wrong!r} is not what was signed")
    return signed


def _time(time_ms: int) -> str:
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):  # whatever the peer's clock says
        return f"{time_ms} ms"
