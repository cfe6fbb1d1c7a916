"""One auditor at work: rounds of ordinary generations on chosen chains, everything in them audited."""

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from swarm.auditor.canaries import Canaries
from swarm.auditor.visits import Visits
from swarm.client.client import Client
from swarm.errors import InvalidRequest, SwarmError
from swarm.peers.directory import CONVICTION_LIFE_S
from swarm.results import Audit, Generation
from swarm.verify.audit.judging.judgement import Verdict

REPEAT_S = CONVICTION_LIFE_S / 3  # between two announcements of the same conviction

STAND_BY_S = 5.0  # between two looks, in a pause, at whatever else is to be done

RETRY_S = 1.0  # after a round that failed, at least

NOBODY = "NOBODY"  # where there is no verdict: nobody could compute it again


@dataclass(frozen=True)
class Round:
    """What became of one round. error: why it did not come to its end, or did not begin."""

    generation: Generation | None
    error: SwarmError | None = None

    @property
    def tokens(self) -> int:
        """That peers computed for it."""
        if self.generation is None or not self.generation.token_ids:
            return 0
        return len(self.generation.prompt_token_ids) + len(self.generation.token_ids)


@dataclass
class Tally:
    """verdicts: by peer id, how often each (a Verdict's name, or NOBODY). faults: by peer id."""

    rounds: int = 0
    errors: int = 0
    tokens: int = 0
    verdicts: dict[str, Counter[str]] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)

    def add(self, one: Round) -> None:
        self.rounds += 1
        self.errors += one.error is not None
        self.tokens += one.tokens
        for audit in one.generation.audits if one.generation else ():
            self.verdicts.setdefault(audit.peer_id, Counter())[verdict_of(audit)] += 1
        for fault in one.generation.faults if one.generation else ():
            self.faults[fault.peer_id] += 1

    def total(self, verdict: str) -> int:
        return sum(counts[verdict] for counts in self.verdicts.values())


def verdict_of(audit: Audit) -> str:
    return NOBODY if audit.verdict is None else Verdict(audit.verdict).name


class Auditor:
    """Works through a client of its own, which decides whether and how to audit, and draws the consequences."""

    def __init__(self, client: Client, rng: random.Random | None = None, attend: Callable[[], None] | None = None):
        """attend: called every STAND_BY_S, as far as rounds allow. Raises InvalidRequest for a model without a
        tokenizer: its prompts are text."""
        if client.tokenizer is None:
            raise InvalidRequest("an auditor's prompts are text, and this model comes without a tokenizer")
        self._attend = attend
        self._client, self._rng = client, rng or random.SystemRandom()
        self._canaries = Canaries(self._rng, has_chat=bool(client.tokenizer.chat_template))
        self._visits = Visits(self._rng)
        self._announced = float("-inf")
        self.tally = Tally()

    def run(self, every_s: float, rounds: int | None, budget: int | None, on_round: Callable[[Round], None]) -> None:
        """Go on for so many rounds, until so many tokens were computed; None: for ever.

        every_s: between two rounds, on average. Pauses are exponentially distributed, as arrivals of strangers are: how
        long the last one is ago tells nothing of when the next will be.
        """
        while True:
            self._stand_by()
            left = None if budget is None else budget - self.tally.tokens
            one = self.round(left)
            self.tally.add(one)
            on_round(one)
            done = rounds is not None and self.tally.rounds >= rounds
            if done or (budget is not None and budget - self.tally.tokens < 2):
                return
            pause_s = self._rng.expovariate(1.0) * every_s
            self._pause(max(pause_s, RETRY_S) if one.error else pause_s)

    def round(self, budget: int | None = None) -> Round:
        """One generation on a chain of those that were looked at least. budget: tokens that it may take."""
        try:
            peers = self._client.usable_peers()
            chain = self._visits.plan(peers, self._client.config.num_blocks)
            self._visits.note(chain, peers)
        except SwarmError as error:
            return Round(None, error)
        prompt, count = self._draw(budget)
        stream = self._client.stream(
            prompt, max_new_tokens=count, temperature=self._canaries.temperature(), through=chain
        )
        failure: SwarmError | None = None
        try:
            for _ in stream:
                pass
        except SwarmError as error:
            failure = error
        self._client.wait_for_audits()
        return Round(stream.generation, failure)

    def _draw(self, budget: int | None) -> tuple[list[int], int]:
        """A prompt's tokens, and how many new ones to ask for."""
        context = self._client.config.max_context
        room = context if budget is None else min(budget, context)
        tokens = self._client.encode(self._canaries.prompt())[: room - 1]
        return tokens, min(self._canaries.new_tokens(), room - len(tokens))

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._stand_by()
            time.sleep(min(left, STAND_BY_S))

    def _stand_by(self) -> None:
        """Announce again what was proven, if it is time, and attend to whatever else there is."""
        if self._attend:
            self._attend()
        if time.monotonic() - self._announced >= REPEAT_S:
            self._announced = time.monotonic()
            self._client.announce_convictions()
