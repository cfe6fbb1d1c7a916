"""How much a server must have at stake, so that to cheat does not pay. Pure.

Sums are in units of R, which is what a server is paid for one segment, and follow from how much work is audited. A
cheat saves a share g of R, an audit with chance p finds it with chance d, and accuses an honest server with chance f:
- on every segment it loses, on average, if S > g R / (p (d - f));
- in m segments that nobody has judged yet it loses if S (1 - (1 - p d)^m) >= m g R.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from swarm.errors import InvalidRequest
from swarm.verify.audit.judging.judgement import SEGMENT
from swarm.verify.reputation.standing import AUDIT_RATE
from swarm.wire.formats.quotes import Price, Quote

SAVED = 0.6  # of a segment's revenue, by computing with a quarter of the weights
LEAST_SEGMENTS = 50  # of revenue at stake, whatever the formulas say
IN_FLIGHT = 20  # segments that one required stake covers until they have been judged


@dataclass(frozen=True)
class Auditing:
    """What chance a cheat has. Raises InvalidRequest if no stake deters it."""

    rate: float = AUDIT_RATE  # share of the segments that are audited
    detected: float = 0.99  # share of the audits of a cheat that find it
    false: float = 0.0  # share of the audits of an honest server that accuse it

    def __post_init__(self) -> None:
        if not (0 < self.rate <= 1 and 0 <= self.false < self.detected <= 1):
            raise InvalidRequest(
                f"no stake deters a cheat where {self.rate:g} of the work is audited, {self.detected:g} of the audits "
                f"of a cheat find it, and {self.false:g} of those of an honest server accuse it"
            )

    def caught(self, segments: int) -> float:
        """The chance that a cheat on so many segments is found on one of them."""
        return 1 - (1 - self.rate * self.detected) ** segments


DEFAULT = Auditing()


def segment_revenue(price: Price, blocks: int, segment_tokens: int = SEGMENT) -> int:
    """Nano-credits for one segment at the dearer of its two prices."""
    return blocks * segment_tokens * max(price)


def required_stake(
    price: Price, blocks: int, segment_tokens: int = SEGMENT, saved: float = SAVED, auditing: Auditing = DEFAULT
) -> int:
    """Nano-credits that a server of so many blocks needs at stake, to be trusted with IN_FLIGHT segments at once.

    saved: share of its revenue that a cheat saves.
    """
    if not 0 <= saved <= 1:
        raise InvalidRequest(f"a cheat saves a share of its revenue from 0 to 1, and not {saved}")
    steady = saved / (auditing.rate * (auditing.detected - auditing.false))
    burst = IN_FLIGHT * saved / auditing.caught(IN_FLIGHT)
    return ceil(Fraction(max(LEAST_SEGMENTS, steady, burst)) * segment_revenue(price, blocks, segment_tokens))


def quoted_stake(quote: Quote, blocks: int) -> int:
    """Nano-credits at stake that a quote calls for, by its dearest price; nothing if it asks for no money."""
    return required_stake(Price(*map(max, quote.price, quote.idle_price)), blocks) if quote.is_paid else 0
