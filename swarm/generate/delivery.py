"""The seam of a generation: who else looks at its sessions, and at its text before it is delivered.

Verification and payment are put in here, by whoever assembles a client. Nothing in this package knows of either.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from swarm.generate.draft import Draft
from swarm.generate.options import GenerateOptions
from swarm.session.observers import HopObserver
from swarm.session.opening import Choose
from swarm.session.session import Session
from swarm.session.wanted import Wanted


class Unverified(Exception):
    """What was generated since the last check cannot be vouched for. peer_ids: who is to blame; nobody, perhaps."""

    def __init__(self, peer_ids: Collection[str]):
        super().__init__(f"not verified, because of {', '.join(sorted(peer_ids)) or 'nobody'}")
        self.peer_ids = frozenset(peer_ids)


class Delivery:
    """Of one generation: between its draft and whoever waits for the text. This one lets everything pass at once."""

    def observe(self, prompt_tokens: int) -> HopObserver:
        """What is to watch over the next session. prompt_tokens: that are there at its beginning."""
        return HopObserver()

    def begin(self, session: Session) -> None:
        """The session that was observed last is open. Raises InvalidRequest if its chain will not do."""

    async def admit(self, session: Session, piece: str) -> str | None:
        """Text that may be delivered, with all tokens so far, after one more that brought `piece`; None: none may.
        Raises Unverified."""
        return piece

    def rewind(self) -> None:
        """The session has failed, and the generation will go on in another."""

    async def finish(self, session: Session) -> None:
        """The session is over, for whatever reason, and is to be closed, now or when it has been looked at."""
        session.close()

    def abandon(self, session: Session) -> None:
        """The same, where there is no time to wait for anything."""
        session.close()


Deliver = Callable[[Draft, GenerateOptions], Delivery]


@dataclass(frozen=True)
class Seams:
    """What a client's generations are made with."""

    deliver: Deliver = lambda draft, options: Delivery()
    choose: Callable[[Wanted], Choose] | None = None  # how a chain is found; None: the best by what peers announce
