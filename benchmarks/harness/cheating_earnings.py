"""What it earns to cheat, in units of R, which is what a server is paid for one segment.

Every cheat is taken to save what 4-bit weights in place of 16-bit ones would, so figures for milder ones are too high.
A conviction costs the whole stake. The audits are those of auditors with other kernels than the server announces; with
the same ones, results are compared bit by bit, and "equal bits" is how often a cheat would pass.
"""

import math
from collections.abc import Mapping

from swarm.market.stake import IN_FLIGHT, LEAST_SEGMENTS, SAVED
from swarm.verify.reputation.standing import AUDIT_RATE, NEWCOMER_AUDIT_RATE, SUSPECT_FACTOR


def segments_until_caught(fail: float, suspect: float, audits: int | None, rate: float) -> float:
    """Expected segments from a cheat's first until its conviction; infinite if audits see nothing.

    fail, suspect: shares of audited segments. audits: within how many suspicions alone convict; None: never. A first
    suspicion raises the audit rate.
    """
    if not fail + suspect:
        return math.inf
    raised = min(1.0, rate * SUSPECT_FACTOR)
    by_failing = 1 / fail if fail else math.inf
    after = min(by_failing, audits - 1 if audits else math.inf)
    return 1 / (rate * (fail + suspect)) + suspect / (fail + suspect) * after / raised if suspect else by_failing / rate


def caught_in_burst(segments: int, fail: float, audits: int | None, rate: float) -> float:
    """The chance to be convicted for so many segments, all served before the first of them is judged."""
    undetected = 0.0
    for count in range(segments + 1):
        drawn = math.comb(segments, count) * rate**count * (1 - rate) ** (segments - count)
        undetected += drawn * (1 - fail) ** count * (audits is None or count < audits)
    return 1 - undetected


def burst(fail: float, audits: int | None, rate: float) -> tuple[float, int]:
    """(profit in R, segments) of the burst that pays most, or loses least."""
    return max(
        (SAVED * segments - LEAST_SEGMENTS * caught_in_burst(segments, fail, audits, rate), segments)
        for segments in range(1, IN_FLIGHT + 1)
    )


def earnings(served: str, peer: Mapping) -> dict[str, object]:
    """One cheat. served: the format it announces. peer: its row in verification.json."""
    fail, suspect, audits = peer["fail %"] / 100, peer["suspect %"] / 100, peer["convicted within"]
    until = segments_until_caught(fail, suspect, audits, AUDIT_RATE)
    return {
        "announced": served,
        "cheat": peer["peer"],
        "fail %": peer["fail %"],
        "suspect %": peer["suspect %"],
        "audits": peer["segments"],
        "equal bits %": peer["equal bits %"],
        "segments until caught": until if until < math.inf else None,
        "profit, R": SAVED * until - LEAST_SEGMENTS if until < math.inf else None,
        "best burst, R": burst(fail, audits, AUDIT_RATE)[0],
        "of segments": burst(fail, audits, AUDIT_RATE)[1],
        "newcomer's, R": burst(fail, audits, NEWCOMER_AUDIT_RATE)[0],
    }
