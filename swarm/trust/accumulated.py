"""Many small suspicions make a conviction: a sequential test over a peer's audited segments.

Page's CUSUM (1954) of the log-likelihood ratio between a result that is shifted and an honest one. It keeps the last
change in view: a peer that was honest for a year is convicted as fast as a new one.
"""

from dataclasses import dataclass

ALARM = 14.0  # nats; an honest peer gets there within n audited segments with a chance of at most n * e^-14 = n * 8e-7


@dataclass(frozen=True, slots=True)
class Accumulated:
    """What is kept of a peer's audits.

    score:    nats of evidence since the last time there was none
    segments: audited in all
    """

    score: float = 0.0
    segments: int = 0

    @property
    def convicts(self) -> bool:
        return self.score >= ALARM

    def plus(self, log_ratio: float, mean: float, deviation: float) -> "Accumulated":
        """One more segment, whose median ratio has this natural logarithm.

        mean, deviation: an honest segment's log ratio is sub-Gaussian with at most this mean and this deviation,
        whatever came before. exp of the sum of increments is then a supermartingale, and Ville's inequality bounds the
        chance that it ever reaches e^ALARM from any one start.
        """
        # Tuned to a shift of SHIFT deviations; larger ones only bring more evidence.
        evidence = SHIFT * (log_ratio - mean) / deviation - SHIFT**2 / 2
        return Accumulated(max(0.0, self.score + min(evidence, MOST)), self.segments + 1)


SHIFT = 2.0
MOST = 7.0  # nats that one segment can bring: one audit alone is never enough
