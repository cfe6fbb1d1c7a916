"""Validators score servers; an epoch's emission goes to servers by consensus, and to validators by agreement with it.

After Bittensor's Yuma consensus (https://docs.learnbittensor.org/learn/yuma-consensus): a server's consensus score is
the largest that validators with more than half of the stake support, and whatever a validator gives beyond is clipped.
Three things differ from it, all since a minority must not gain:
- servers share in proportion to the consensus itself, not to the sum of the clipped scores: by the sum, a minority that
  gives nothing to all others makes its friends' part larger;
- a validator earns by how far its scores of *this* epoch are from the consensus, measured by what is usual in this
  epoch: full pay up to 1.75 times the median distance, from there with the fourth power less. Distances of honest
  validators come from having measured few requests each, so the yardstick is as exact as the measuring was;
- the consensus is then taken once more, in which a validator's stake counts for as much as it earns: who is far off has
  no say.

What remains possible (figures: benchmarks/economy.py). More than half of the stake that voted decides everything. A
minority whose members speak with one voice can move a score by about half of an honest measurement's error; while that
is below 10 %, 30 % of the stake get less than 1.05 times their share. Whoever copies the last consensus earns as much
as an honest validator where servers change no more from epoch to epoch than measurements are inexact, two thirds where
they change twice as much, and a tenth where it is four times. A favour within the error is not seen, and brings the
friend nothing. Invented work is not seen either: validators must score what they have sampled themselves, not what
clients signed for.

Whole numbers throughout: whoever has the ballots computes the same emission, to the last nano-credit.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from swarm.errors import InvalidRequest
from swarm.market.ledger.ledger import PER_MILLION
from swarm.market.pricing.policy import Epoch, Pricing, check_price
from swarm.market.shares import split
from swarm.wire.formats.quotes import Price

KAPPA = (1, 2)  # share of the stake that has to support a score, as a fraction, and a bit more

_WHOLE = 2**32  # all scores of one validator together
_NEAR = _WHOLE // 200  # distances below 0.5 % are all the same
_FULL = (7, 4)  # of the usual distance: up to it, pay is full. Most honest validators are within
_UNIT = 2**32  # pay of a validator with a stake of 1 that is near the consensus


@dataclass(frozen=True)
class Rewards(Pricing):
    """A posted price, and an emission on top. Raises InvalidRequest.

    servers_ppm: millionths of an emission for servers, the rest for validators. server_stake: nano-credits that a
    server must have at stake, to get any: a fresh key earns nothing.
    """

    posted: Price
    servers_ppm: int = PER_MILLION // 2
    server_stake: int = 1

    mode: ClassVar[str] = "rewards"

    def __post_init__(self) -> None:
        check_price(self.posted)
        if not 0 <= self.servers_ppm <= PER_MILLION or self.server_stake < 0:
            raise InvalidRequest(f"{self.servers_ppm} millionths for servers with {self.server_stake} or more at stake")

    @property
    def price(self) -> Price:
        return self.posted

    def emission(self, epoch: Epoch) -> dict[bytes, int]:
        """All of `epoch.emission`, to the last nano-credit; nothing if no validator with stake scored any server that
        may be paid. `epoch.weights`: from `ballots.counted`."""
        servers = {server for server, stake in epoch.stakes.items() if stake >= self.server_stake}
        result = consensus(epoch.weights, epoch.stakes, servers)
        if not any(result.scores.values()):
            return {}
        for_servers = epoch.emission * self.servers_ppm // PER_MILLION
        earned = split(for_servers, result.scores)
        for validator, amount in split(epoch.emission - for_servers, result.agreement).items():
            earned[validator] = earned.get(validator, 0) + amount
        return earned


class Consensus(NamedTuple):
    scores: dict[bytes, int]  # by server
    agreement: dict[bytes, int]  # by validator: its stake, times how near its scores are to the consensus


def consensus(
    weights: Mapping[bytes, Mapping[bytes, int]], stakes: Mapping[bytes, int], servers: Iterable[bytes]
) -> Consensus:
    """What validators with stake agree on.

    weights: scores of servers, by validator; of each only the proportions count. stakes: nano-credits by address.
    servers: that may be paid; scores of others are left out before anything is counted.
    """
    paid = sorted(servers)
    ballots = {validator: split(_WHOLE, {server: scores.get(server, 0) for server in paid})
               for validator, scores in weights.items() if stakes.get(validator, 0) > 0}  # fmt: skip
    ballots = {validator: ballot for validator, ballot in ballots.items() if ballot}
    agreed = _agreed(ballots, stakes, paid)
    distance = {validator: _distance(ballot, agreed) for validator, ballot in ballots.items()}
    # The least distance that contains more than half of the stake: the largest supported one, of the negatives.
    usual = -_supported([(-far, stakes[validator]) for validator, far in distance.items()])
    near = max(usual * _FULL[0] // _FULL[1], _NEAR)
    agreement = {
        validator: stakes[validator] * _UNIT * near**4 // max(far, near) ** 4 for validator, far in distance.items()
    }
    return Consensus(_agreed(ballots, agreement, paid), agreement)


def _agreed(
    ballots: Mapping[bytes, Mapping[bytes, int]], say: Mapping[bytes, int], servers: list[bytes]
) -> dict[bytes, int]:
    """Scores that most of `say` supports, by server; _WHOLE in all."""
    return split(_WHOLE, {
        server: _supported([(ballot.get(server, 0), say[validator]) for validator, ballot in ballots.items()])
        for server in servers
    })  # fmt: skip


def _supported(votes: Iterable[tuple[int, int]]) -> int:
    """The largest value that more than KAPPA of the stake gives, or exceeds; 0 of no votes. votes: (value, stake)."""
    ordered, support = sorted(votes, reverse=True), 0
    needed = sum(stake for _, stake in ordered) * KAPPA[0]
    for value, stake in ordered:
        support += stake
        if support * KAPPA[1] > needed:
            return value
    return 0


def _distance(one: Mapping[bytes, int], other: Mapping[bytes, int]) -> int:
    """Half of the sum of differences: 0 to _WHOLE."""
    return sum(abs(one.get(key, 0) - other.get(key, 0)) for key in one.keys() | other.keys()) // 2
