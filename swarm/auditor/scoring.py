"""What a validator's own audits of an epoch say a server is worth. Pure.

A score is the number of blocks of which work passed, times the share of the audited block-tokens that did. It is not
the sum of what passed: prompts are random, so a sum would tell validators' luck, and as much as honest scores differ,
dishonest ones may, too. One failure, and the epoch's score is nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from swarm.results import Audit
from swarm.verify.audit.auditing import LOCAL
from swarm.verify.audit.judging.judgement import Verdict
from swarm.wire.identity import address_of


@dataclass
class Measured:
    """What became of one server's audits."""

    blocks: set[int] = field(default_factory=set)  # of which work passed
    audited: int = 0  # block-tokens, with those that nobody could compute again
    passed: int = 0
    has_failed: bool = False

    def add(self, audit: Audit) -> None:
        """One more of its audits. Only what was computed again on this machine counts for or against it."""
        start, stop = audit.blocks
        self.audited += (stop - start) * audit.count
        if audit.by != LOCAL:
            return
        self.has_failed |= audit.verdict == Verdict.FAIL
        if audit.verdict == Verdict.PASS:
            self.passed += (stop - start) * audit.count
            self.blocks.update(range(start, stop))

    @property
    def score(self) -> Fraction:
        share = Fraction(self.passed, self.audited) if self.audited else Fraction()
        return Fraction() if self.has_failed else len(self.blocks) * share


class Measurements:
    """Of all servers, by address. Others' verdicts are not this validator's, and a server that withholds what an audit
    needs has not passed it."""

    def __init__(self) -> None:
        self._servers: dict[bytes, Measured] = {}

    def add(self, audit: Audit) -> None:
        self._servers.setdefault(address_of(audit.peer_id), Measured()).add(audit)

    def scores(self) -> Mapping[bytes, Fraction]:
        """Of those that deserve any."""
        return {address: server.score for address, server in self._servers.items() if server.score}
