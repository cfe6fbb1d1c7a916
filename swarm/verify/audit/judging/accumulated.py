"""Many small suspicions make a conviction: a sequential test over a peer's audited segments.

Page's CUSUM (1954) of the log-likelihood ratio between results that are off and honest ones. Evidence against a peer
adds up, evidence for it only takes away what there is: who turns to cheating after a year is convicted as fast as who
began with it.
"""

import struct
from dataclasses import dataclass

ALARM = 14.0  # nats; an honest peer gets there within n audited segments with a chance of at most n e^-14 = n * 8e-7

_SHIFT = 2.0  # deviations by which a result is taken to be off; the more it really is, the more evidence comes
_MOST = 7.0  # nats that one segment can bring: one audit is never enough


@dataclass(frozen=True, slots=True)
class Accumulated:
    """What is kept of a peer's audits.

    score:    nats of evidence against it since there last was none
    segments: audited in all
    """

    score: float = 0.0
    segments: int = 0

    @property
    def convicts(self) -> bool:
        return self.score >= ALARM

    def plus(self, log_ratio: float, mean: float, deviation: float) -> "Accumulated":
        """After one more segment, whose median ratio has this natural logarithm.

        mean, deviation: whatever came before, an honest peer's next log ratio has at most this mean, and tails at most
        those of a normal distribution with this deviation. e to the sum of the evidence is then a supermartingale,
        which by Ville's inequality ever reaches e^ALARM from a given start with a chance of at most e^-ALARM.
        """
        evidence = _SHIFT * (log_ratio - mean) / deviation - _SHIFT**2 / 2
        return Accumulated(max(0.0, self.score + min(evidence, _MOST)), self.segments + 1)

    def encode(self) -> bytes:
        """As the reputation store keeps it for a peer."""
        return struct.pack("<dQ", self.score, self.segments)

    @classmethod
    def decode(cls, data: bytes) -> "Accumulated":
        """The other way; of nothing, or of what another version wrote, a new beginning."""
        return cls(*struct.unpack("<dQ", data)) if len(data) == 16 else cls()

    def __str__(self) -> str:
        return f"{self.score:.1f} nats of evidence in {self.segments} audits, of which {ALARM:g} convict"
