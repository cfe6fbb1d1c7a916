"""A peer's standing: what became of dealings with it so far, and what follows for the next. Pure.

Counts decay with HALF_LIFE_S: whoever misbehaved can earn its way back, and whoever is silent for long is a stranger
again, in either direction. Reliability is the mean of a beta distribution (A. Josang and R. Ismail: The Beta Reputation
System, 2002) that begins as if 19 of 20 dealings had gone well. A fresh key has that standing of a stranger; it can
rid a peer of a bad name, but never gives it a better one, and costs it the audits that strangers get.
"""

import math
from dataclasses import dataclass, fields, replace
from enum import Enum

HALF_LIFE_S = 7 * 86_400.0
NEWCOMER_SEGMENTS = 200  # receipts for chunks of work, until a peer is no stranger any more
NEWCOMER_AUDIT_RATE = 0.2
AUDIT_RATE = 0.05
SUSPECT_FACTOR = 10.0  # by which a suspect is audited more
MAX_SLOWDOWN = 10.0

_PRIOR_GOOD, _PRIOR_BAD = 19.0, 1.0
_PRESENT = 0.5  # of one event, below which it is forgotten: after one half-life
_MOST_GOOD = 500.0  # that can be saved up: a long good record is no licence for many faults
_MOST_BAD = 16.0  # of one kind: forgotten after five half-lives at most
_MOST_LAG = 5.0  # of a logarithm


class Event(Enum):
    """What may become of a dealing with a peer."""

    GOOD = "good"  # a receipt in time, that fits its neighbours'
    FAULT = "faults"  # a receipt missing, late or invalid; a link that does not match; a journal withheld
    CRASH = "crashes"  # vanished, hung, or broke off
    AUDIT_PASSED = "passed"
    AUDIT_SUSPECT = "suspicions"
    AUDIT_FAILED = "failed"
    ACCUSED = "accused"  # by somebody, of what could not be checked here: a reason to look, but held against nobody
    FALSE_ACCUSATION = "lies"  # announced a conviction that its own proof does not bear out


# How many faults each is worth.
_WEIGHTS = {"faults": 1.0, "crashes": 1.0, "suspicions": 5.0, "lies": 20.0, "failed": 50.0}


@dataclass(frozen=True)
class Standing:
    """Decayed counts of events, at `noted_s`; the stranger's by default."""

    good: float = 0.0
    faults: float = 0.0
    crashes: float = 0.0
    passed: float = 0.0
    suspicions: float = 0.0
    failed: float = 0.0
    accused: float = 0.0
    lies: float = 0.0
    lag: float = 0.0  # logarithm of measured time over announced time
    segments: int = 0  # good ones, not decayed
    noted_s: float = 0.0  # time since the epoch

    def at(self, now_s: float) -> "Standing":
        """What is left of it at `now_s`. Time does not run backwards."""
        elapsed_s = now_s - self.noted_s
        if elapsed_s <= 0:
            return self
        left = math.exp2(-elapsed_s / HALF_LIFE_S)
        return replace(self, noted_s=now_s, **{name: getattr(self, name) * left for name in _DECAYING})

    def after(self, event: Event, now_s: float) -> "Standing":
        """This standing once `event` is known."""
        then, name = self.at(now_s), event.value
        most = _MOST_GOOD if event in (Event.GOOD, Event.AUDIT_PASSED) else _MOST_BAD
        segments = then.segments + (event is Event.GOOD)
        return replace(then, segments=segments, **{name: min(getattr(then, name) + 1.0, most)})

    def after_speed(self, log: float, now_s: float) -> "Standing":
        """This standing once the peer is known to take exp(`log`) times as long as it announces."""
        return replace(self.at(now_s), lag=min(max(log, -_MOST_LAG), _MOST_LAG))

    @property
    def reliability(self) -> float:
        """Expected share of dealings that go well, between 0 and 1."""
        good = _PRIOR_GOOD + self.good + self.passed
        bad = _PRIOR_BAD + sum(weight * float(getattr(self, name)) for name, weight in _WEIGHTS.items())
        return good / (good + bad)

    @property
    def slowdown(self) -> float:
        """How many times slower than it is the peer is taken for when a chain is chosen, from 1 to MAX_SLOWDOWN: one
        with faults must be that much faster than another to be preferred."""
        return min(1 / self.reliability, MAX_SLOWDOWN)

    @property
    def is_suspect(self) -> bool:
        return self.suspicions >= _PRESENT or self.accused >= _PRESENT

    @property
    def is_credible(self) -> bool:
        """Whether to listen when it accuses others."""
        return self.lies < _PRESENT

    @property
    def is_shunned(self) -> bool:
        """Whether to have nothing to do with it, until it is forgotten."""
        return self.failed >= _PRESENT

    @property
    def audit_rate(self) -> float:
        """Share of its segments that should be audited."""
        rate = AUDIT_RATE if self.segments >= NEWCOMER_SEGMENTS else NEWCOMER_AUDIT_RATE
        return min(rate * SUSPECT_FACTOR, 1.0) if self.is_suspect else rate


STRANGER = Standing()
_DECAYING = [field.name for field in fields(Standing) if field.name not in ("segments", "noted_s")]
