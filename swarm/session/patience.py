"""When an answer is late, and what the hops' own words then say about who is to blame: pure."""

from collections.abc import Sequence

from swarm.route.means import RunningMean
from swarm.wire import messages_pb2 as pb

LEAST_PATIENCE_S = 0.15  # asking costs a message to each hop; a busy machine is late by as much
MOST_PATIENCE_S = 2.0
UNKNOWN_S = 0.5  # before anything was measured


class StepClock:
    """How long one token's answer may take before the hops are asked whether they live: the running mean and four times
    the mean deviation, as TCP's retransmission timer (Jacobson 1988, RFC 6298)."""

    def __init__(self) -> None:
        self._mean_s, self._deviation_s = RunningMean(0.125), RunningMean(0.25)

    def observe(self, step_s: float) -> None:
        """A token's answer took so long."""
        known = self._mean_s.is_known
        self._deviation_s.observe(abs(step_s - self._mean_s.value) if known else step_s / 2)
        self._mean_s.observe(step_s)

    def patience_s(self, tokens: int) -> float:
        """For a step of `tokens`. A prompt's chunk takes as long as its tokens need, which nobody knows: ask soon, and
        then less and less often."""
        if tokens > 1 or not self._mean_s.is_known:
            return UNKNOWN_S
        patience_s = self._mean_s.value + 4 * self._deviation_s.value
        return min(max(patience_s, LEAST_PATIENCE_S), MOST_PATIENCE_S)


def silent(answers: Sequence[pb.Progress | None]) -> list[int]:
    """The hops that did not answer a probe."""
    return [index for index, answer in enumerate(answers) if answer is None]


def stuck_before(answers: Sequence[pb.Progress], stop: int) -> int | None:
    """The hop that has not received the positions below `stop` although the one before it has computed them: what was
    sent between the two is on its way, or lost. None if there is no such hop."""
    for index in range(1, len(answers)):
        if answers[index - 1].computed >= stop > answers[index].received:
            return index
    return None


def at_work(answers: Sequence[pb.Progress], stop: int) -> int | None:
    """The hop that has received the positions below `stop` and not computed them; None if there is none."""
    return next((i for i, answer in enumerate(answers) if answer.received >= stop > answer.computed), None)
