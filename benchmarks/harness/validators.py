"""Epochs of validators who score servers, and of some who do not do what they should. Only their work is simulated."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from swarm.market.pricing.policy import Epoch
from swarm.market.rewards.ballots import MAX_SCORE, scores_of
from swarm.market.rewards.rewards import Rewards, consensus
from swarm.wire.formats.quotes import FREE

VALIDATORS = [bytes([1, number]) * 10 for number in range(20)]
SERVERS = [bytes([2, number]) * 10 for number in range(30)]
STAKES = dict.fromkeys(VALIDATORS, 1000) | dict.fromkeys(SERVERS, 10)
EMISSION = 10**9 + 7
REWARDS = Rewards(FREE)

Scores = Mapping[bytes, int]


@dataclass
class Trial:
    """Epochs in which the servers' true worth wanders, and honest validators measure it inexactly."""

    deviants: Sequence[bytes] = ()
    strategy: Callable[["Trial", bytes, Scores], Scores] = lambda trial, validator, scores: scores
    noise: float = 0.05  # relative deviation of one validator's measurement of one server
    change: float = 0.2  # relative deviation of a server's worth from one epoch to the next
    friends: Sequence[bytes] = ()  # servers of the deviants
    epochs: int = 25
    worth: dict[bytes, float] = field(default_factory=dict)  # in the present epoch
    last: Scores = field(default_factory=dict)  # consensus of the epoch before

    def run(self, seed: int = 0) -> "Trial":
        rng = random.Random(seed)
        self.worth = {server: rng.uniform(0.5, 2) for server in SERVERS}
        self.earned = dict.fromkeys(STAKES, 0)
        self.fair = 0.0  # what friends would earn if everybody knew the truth
        for number in range(self.epochs):
            self.worth = {server: worth * rng.lognormvariate(0, self.change) for server, worth in self.worth.items()}
            weights = {validator: self._scores(validator, rng) for validator in VALIDATORS}
            for address, amount in REWARDS.emission(Epoch(number, EMISSION, (), STAKES, weights)).items():
                self.earned[address] += amount
            part = sum(self.worth[friend] for friend in self.friends) / sum(self.worth.values())
            self.fair += EMISSION / 2 * part
            self.last = consensus(weights, STAKES, SERVERS).scores
        return self

    def _scores(self, validator: bytes, rng: random.Random) -> Scores:
        measured = {server: worth * max(0.01, rng.gauss(1, self.noise)) for server, worth in self.worth.items()}
        scores = scores_of(measured)
        return self.strategy(self, validator, scores) if validator in self.deviants else scores

    @property
    def pay(self) -> float:
        """Of a deviant, relative to an honest validator's."""
        honest = [self.earned[one] for one in VALIDATORS if one not in self.deviants]
        return sum(self.earned[one] for one in self.deviants) / len(self.deviants) / (sum(honest) / len(honest))

    @property
    def gain(self) -> float:
        """Of the deviants and their friends together, relative to their fair share."""
        fair = self.fair + self.epochs * EMISSION / 2 * len(self.deviants) / len(VALIDATORS)
        return sum(self.earned[one] for one in (*self.deviants, *self.friends)) / fair


def copy(trial: Trial, validator: bytes, scores: Scores) -> Scores:
    """What was revealed last: the best that anybody knows without measuring."""
    return scores_of(trial.last) if trial.last else scores


def favour(factor: float) -> Callable[[Trial, bytes, Scores], Scores]:
    """What was measured, but friends' times `factor`."""

    def favoured(trial: Trial, validator: bytes, scores: Scores) -> Scores:
        return scores_of({s: score * (factor if s in trial.friends else 1) for s, score in scores.items()})

    return favoured


def only_friends(trial: Trial, validator: bytes, scores: Scores) -> Scores:
    return dict.fromkeys(trial.friends, MAX_SCORE)


def raise_friends(factor: float) -> Callable[[Trial, bytes, Scores], Scores]:
    """All alike, and starting from the truth, which is more than real colluders know."""

    def raised(trial: Trial, validator: bytes, scores: Scores) -> Scores:
        return scores_of({s: worth * (factor if s in trial.friends else 1) for s, worth in trial.worth.items()})

    return raised
