"""Everything the library raises on purpose.

A message says what was wrong, with which value, and what to do about it. Code on the wire is the class name,
so that a peer's refusal arrives at the client as the same exception it was at the server.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swarm.results import Generation


MAX_MESSAGE = 1_000  # characters of what a peer says


class SwarmError(Exception):
    """Base class: catching it catches every error this library raises on purpose.

    generations: where `swarm.Client` was generating, what there was by then of each prompt, tokens and text.
    prompt_index: of a list of prompts, which one it is about, counted from 0; None: not about one of a list.
    """

    generations: "Sequence[Generation]" = ()
    prompt_index: int | None = None

    def tell_prompt(self, index: int) -> None:
        """It is about this one of a list of prompts, and says so from now on."""
        self.prompt_index = index
        self.args = (f"prompt {index}: {self}", *self.args[1:])


class ModelError(SwarmError):
    """A model that cannot be found, read or served: unknown architecture, missing tensor, bad block range."""


class InvalidRequest(SwarmError):
    """A request that can never succeed as it is: bad position, shape, dtype, digest, length or option.

    No ValueError: those are caught around many a file and message, and by argparse, where a refusal is not to be lost.
    """


class UnknownOption(InvalidRequest, TypeError):
    """A keyword argument that there is not: in Python, a TypeError."""


class UnusableFile(InvalidRequest):
    """A file that was named and cannot be read or written, or is not what it should be; standard input is one."""


class RevisionMismatch(InvalidRequest):
    """The two sides hold different revisions of the same model."""


class PrivateSwarm(InvalidRequest):
    """The swarm is private, and this process has no secret, or not that swarm's; or it has one where none is wanted."""


class PeerBusy(SwarmError):
    """A peer that has no room at the moment; the message carries its load. Another peer, or a later try, may do."""


class PeerUnreachable(SwarmError):
    """A peer that did not answer: wrong address, closed port, broken stream, or a timeout."""


class NoRoute(SwarmError):
    """No chain of known peers covers the model; the message names the missing blocks.

    uncovered: these, (start, stop), where nobody serves them and somebody may come who does. because: what is known of
    that, in words that stay the same as long as nothing changes.
    """

    def __init__(self, message: str, uncovered: "Sequence[tuple[int, int]]" = (), because: str = "nobody serves them"):
        super().__init__(message)
        self.uncovered, self.because = tuple(uncovered), because

    @property
    def blocks(self) -> str:
        """Those that are uncovered: "10:20, 25:30"."""
        return in_words(self.uncovered)


def in_words(blocks: Iterable[tuple[int, int]]) -> str:
    """Ranges (start, stop) of blocks: "10:20, 25:30"."""
    return ", ".join(f"{start}:{stop}" for start, stop in blocks)


class PaymentRequired(SwarmError):
    """A peer that computes no further before it is paid, or a client that may not spend as much as that costs."""


class LedgerRefusal(InvalidRequest):
    """An operation that a ledger's rules forbid: not covered, not authorised, stale, done before. Nothing changed."""


class DiskTrouble(SwarmError):
    """A disk of this machine that does not take, or give, what is needed now: full, locked, read-only, gone, too slow.
    What waits in memory is written when it does; a later try may do."""


class AddressInUse(SwarmError):
    """The port asked for belongs to another process."""


_BY_NAME = {cls.__name__: cls for cls in (
    SwarmError, ModelError, InvalidRequest, UnusableFile, RevisionMismatch, PrivateSwarm, PeerBusy, PeerUnreachable,
    NoRoute, PaymentRequired, LedgerRefusal, AddressInUse,
)}  # fmt: skip


def from_wire(code: str, message: str) -> SwarmError:
    """The exception that a peer reported as `code` with `message`; unknown codes become a plain SwarmError. A peer's
    words end up on terminals: what is not printable is left out, and what is too long cut."""
    said = "".join(one if one.isprintable() else " " for one in message[:MAX_MESSAGE])
    return _BY_NAME.get(code, SwarmError)(said)
