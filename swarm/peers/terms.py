"""Which peers a client uses, by what they say they are and ask for."""

from collections.abc import Sequence
from dataclasses import dataclass

from swarm.errors import NoRoute, SwarmError
from swarm.peers.policy import PeerPolicy
from swarm.route.peer import PeerInfo
from swarm.wire.formats.quotes import FREE


@dataclass(frozen=True)
class Terms(PeerPolicy):
    """Which peers a client uses, and what it pays them. None: any."""

    dtype: str | None = None  # that they compute in
    quant: str | None = None  # format of their weights
    numerics_id: str | None = None  # peers with the same one compute the same bits
    trusted: frozenset[str] | None = None  # peer ids: no others
    excluded: frozenset[str] = frozenset()  # peer ids
    ledger: bytes | None = None  # id of the one on which peers can be paid; None: only those that work for nothing
    max_price: int | None = None  # nano-credits for one token through the whole model
    seconds_per_credit: float = 0.0  # what saving a credit is worth

    def accept(self, peer: PeerInfo) -> bool:
        """Price apart."""
        demands = (self.dtype, peer.dtype), (self.quant, peer.quant), (self.numerics_id, peer.numerics_id)
        if any(wanted not in (None, given) for wanted, given in demands):
            return False
        if not self.can_pay(peer):
            return False
        return peer.peer_id not in self.excluded and (self.trusted is None or peer.peer_id in self.trusted)

    def refusal(self, model: str, peers: Sequence[PeerInfo]) -> SwarmError:
        there = ", ".join(sorted({f"quant {peer.quant} with dtype {peer.dtype}" for peer in peers}))
        ledgers = sorted({peer.asks.ledger.hex()[:16] for peer in peers if not self.can_pay(peer)})
        text = f"no peer serves {model!r} {self}, as this client demands; there is {there}"
        if ledgers:
            text += f"; some want to be paid on the ledger {', '.join(ledgers)}: give an account there with --ledger"
        return NoRoute(text)

    def can_pay(self, peer: PeerInfo) -> bool:
        """Whether it works for nothing, or wants to be paid where this client has an account."""
        return peer.asks.price == FREE or peer.asks.ledger == self.ledger

    def __str__(self) -> str:
        text = f"with quant {self.quant or 'any'} and dtype {self.dtype or 'any'}"
        text += f" and numerics {self.numerics_id}" if self.numerics_id else ""
        return text + (" among the peers allowed" if self.trusted is not None or self.excluded else "")
