"""Which of the peers that the directory lists a client uses: a chain of policies, each of which may say no."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from swarm.errors import NoRoute, RevisionMismatch, SwarmError
from swarm.peers.reputation import Reputation
from swarm.program import option
from swarm.route.peer import PeerInfo
from swarm.shown import count
from swarm.wire.formats.quotes import FREE
from swarm.wire.peer_names import short_id


class PeerPolicy:
    """One of them. This one takes everybody; what others ask for, they say by what they override. Lives in one event
    loop.

    reason: of a peer that it does not take, a clause that goes on after its name. is_waived_at_will: the user may take
    such a peer all the same, as `hint` says.
    """

    reason: ClassVar[str] = "is not used"
    is_waived_at_will: ClassVar[bool] = False

    async def look(self, peers: Sequence[PeerInfo]) -> None:
        """`peers` are listed now, and no others. A picture of the swarm waits for this."""

    def accept(self, peer: PeerInfo) -> bool:
        """Whether it may be used, by what is known now."""
        return True

    def check(self, peers: Sequence[PeerInfo]) -> None:
        """Raises InvalidRequest where the client has asked for what cannot be with `peers`, who are all that are
        listed."""

    def why(self, peer: PeerInfo) -> str:
        """The clause of this one peer."""
        return self.reason

    def refusal(self, model: str, peers: Sequence[PeerInfo]) -> SwarmError:
        """What to raise when it accepts none of `peers`, though all that was asked before does."""
        return nobody(f"none of {count(len(peers), 'peer')} of {model!r} can be used", peers)

    def hint(self, peers: Sequence[PeerInfo]) -> str:
        """What would make more of `peers` usable, if that is in the user's hands: a clause; else nothing."""
        return ""

    def close(self) -> None:
        """The client is closed."""


class SameModel(PeerPolicy):
    """Those that mean the same model as this client does."""

    reason = "has another revision of the model"

    def __init__(self, revision: str, num_blocks: int):
        self._revision, self._num_blocks = revision, num_blocks

    def accept(self, peer: PeerInfo) -> bool:
        return peer.revision == self._revision and peer.num_blocks == self._num_blocks

    def refusal(self, model: str, peers: Sequence[PeerInfo]) -> SwarmError:
        others = ", ".join(sorted({peer.revision for peer in peers}))
        return RevisionMismatch(
            f"the swarm serves {model!r} in revision {others}, this client has {self._revision}; "
            "use the same files on both sides"
        )


class TakesSessions(PeerPolicy):
    """Those that take new sessions now: one whose disk fails says that it does not, and why."""

    reason = "takes no new sessions for now"

    def accept(self, peer: PeerInfo) -> bool:
        return not peer.paused

    def refusal(self, model: str, peers: Sequence[PeerInfo]) -> SwarmError:
        return nobody(f"no peer of {model!r} takes new sessions for now: {_paused(peers)}", peers)

    def why(self, peer: PeerInfo) -> str:
        return f"{self.reason}: it says that {peer.paused}"


def _paused(peers: Sequence[PeerInfo]) -> str:
    """What the first of them says; what all say would fill the screen."""
    return f"peer {short_id(peers[0].peer_id)} says that {peers[0].paused}"


class Signing(PeerPolicy):
    """Those that sign receipts for their work."""

    reason = "signs no receipts"
    is_waived_at_will = True

    def accept(self, peer: PeerInfo) -> bool:
        return not peer.unsigned

    def refusal(self, model: str, peers: Sequence[PeerInfo]) -> SwarmError:
        return nobody(
            f"none of {count(len(peers), 'peer')} of {model!r} signs for its work; do without receipts "
            f"({option('receipts=False', '--no-receipts')}), or start one that does",
            peers,
        )

    def hint(self, peers: Sequence[PeerInfo]) -> str:
        unsigned = any(peer.unsigned for peer in peers)
        return f"{option('receipts=False', '--no-receipts')} uses those that sign none as well" if unsigned else ""


class NotShunned(PeerPolicy):
    """Those that are not known to cheat."""

    reason = "was found to cheat"

    def __init__(self, reputation: Reputation):
        self._reputation = reputation

    def accept(self, peer: PeerInfo) -> bool:
        return not self._reputation.is_shunned(peer.peer_id)

    def refusal(self, model: str, peers: Sequence[PeerInfo]) -> SwarmError:
        return nobody(f"no peer of {model!r} is used: {count(len(peers), 'peer')} found to cheat", peers)


@dataclass(frozen=True)
class Terms(PeerPolicy):
    """Which peers a client uses, and what it pays them. None: any."""

    reason: ClassVar[str] = "is not what this client demands"

    dtype: str | None = None  # that they compute in
    quant: str | None = None  # format of their weights
    numerics_id: str | None = None  # peers with the same one compute the same bits
    ledger: bytes | None = None  # id of the one on which peers can be paid; None: only those that work for nothing
    max_price: int | None = None  # nano-credits for one token through the whole model
    seconds_per_credit: float = 0.0  # what saving a credit is worth

    def accept(self, peer: PeerInfo) -> bool:
        """Price apart."""
        return self.can_pay(peer) and self._is_served_by(peer)

    def _is_served_by(self, peer: PeerInfo) -> bool:
        demands = (self.dtype, peer.dtype), (self.quant, peer.quant), (self.numerics_id, peer.numerics_id)
        return all(wanted in (None, given) for wanted, given in demands)

    def why(self, peer: PeerInfo) -> str:
        if not self.can_pay(peer):
            return f"wants to be paid on the ledger {peer.asks.ledger.hex()[:16]}"
        return f"serves with quant {peer.quant} and dtype {peer.dtype}, and this client wants peers {self}"

    def refusal(self, model: str, peers: Sequence[PeerInfo]) -> SwarmError:
        fitting = [peer for peer in peers if self._is_served_by(peer)]
        ledgers = sorted({peer.asks.ledger.hex()[:16] for peer in fitting or peers if not self.can_pay(peer)})
        paid = f"to be paid on the ledger {', '.join(ledgers)}: pay there, with {option('ledger')}"
        if fitting:
            whom = f"{model!r} {self}".rstrip()
            return nobody(f"no peer of {whom} works for nothing; they want {paid}", peers)
        there = ", ".join(sorted({f"quant {peer.quant} with dtype {peer.dtype}" for peer in peers}))
        text = f"no peer serves {model!r} {self}, as this client demands; there is {there}"
        return nobody(f"{text}; some want {paid}" if ledgers else text, peers)

    def can_pay(self, peer: PeerInfo) -> bool:
        """Whether it works for nothing, or wants to be paid where this client has an account."""
        return peer.asks.price == FREE or peer.asks.ledger == self.ledger

    def __str__(self) -> str:
        demands = ("quant", self.quant), ("dtype", self.dtype), ("numerics", self.numerics_id)
        wanted = " and ".join(f"{name} {value}" for name, value in demands if value)
        return wanted and f"with {wanted}"


def nobody(text: str, peers: Sequence[PeerInfo]) -> NoRoute:
    """What to raise where none of `peers`, who serve the same model, will do: a wait, for others may come who would."""
    return NoRoute(text, [(0, peers[0].num_blocks)], text)


def accepted(policies: Iterable[PeerPolicy], model: str, peers: Sequence[PeerInfo]) -> Sequence[PeerInfo]:
    """Those of `peers` that all of `policies` take. Raises the refusal of the first that leaves none, and what their
    `check`s do."""
    policies, listed = list(policies), peers
    for policy in policies:
        policy.check(listed)
        left = [peer for peer in peers if policy.accept(peer)]
        if peers and not left:
            raise policy.refusal(model, peers)
        peers = left
    return peers


def who_refuses(policies: Iterable[PeerPolicy], peer: PeerInfo) -> PeerPolicy | None:
    """The first of `policies` that does not take `peer`."""
    return next((policy for policy in policies if not policy.accept(peer)), None)


def hints(policies: Iterable[PeerPolicy], peers: Sequence[PeerInfo]) -> list[str]:
    """What each of `policies` has to say of those of `peers` that the ones before it take."""
    found = []
    for policy in policies:
        found.append(policy.hint(peers))
        peers = [peer for peer in peers if policy.accept(peer)]
    return list(filter(None, found))
