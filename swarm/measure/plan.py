"""Which cases are measured: how many sessions at once, with how long prompts. Pure."""

from collections.abc import Sequence
from itertools import product

from swarm import shown
from swarm.errors import InvalidRequest

LEAST_TOKENS = 8  # new ones of a session: the time between fewer says nothing


def cases(sessions: Sequence[int], contexts: Sequence[int]) -> list[tuple[int, int]]:
    """(sessions, context): each with each, once."""
    return [(one, context) for context, one in product(sorted(set(contexts)), sorted(set(sessions)))]


def check_contexts(contexts: Sequence[int], tokens: int, max_context: int, model: str) -> None:
    """Whether prompt and new tokens fit into the model's context. Raises InvalidRequest."""
    check_tokens(tokens)
    most = max_context - tokens
    if long := [context for context in contexts if context > most]:
        raise InvalidRequest(
            f"a context of {long[0]} and {tokens} new tokens are more than the {max_context} tokens that {model} "
            f"takes; the longest context is {most}"
        )


def check_tokens(tokens: int) -> None:
    """Raises InvalidRequest."""
    if tokens < LEAST_TOKENS:
        few = f"{shown.count(tokens, 'new token')} {'is' if tokens == 1 else 'are'}"
        raise InvalidRequest(f"{few} too few to tell a speed by; {LEAST_TOKENS} are the least")


def too_long(sessions: int, context: int, tokens: int, prompt_per_s: float, step_s: float, limit_s: float) -> str:
    """Why a case is left out, or "". prompt_per_s, step_s: of one session, as first measured; limit_s: for one run."""
    seconds = expected_s(sessions, context, tokens, prompt_per_s, step_s)
    if seconds <= limit_s:
        return ""
    return f"one run would take about {duration(seconds)}, and --limit is {duration(limit_s)}"


def expected_s(sessions: int, context: int, tokens: int, prompt_per_s: float, step_s: float) -> float:
    """Of a run: prompts one after the other, then steps of all sessions together, as if batches were for nothing."""
    return sessions * context / prompt_per_s + tokens * step_s


def duration(seconds: float) -> str:
    """Roughly, as people say it."""
    if seconds < 9.5:
        return f"{seconds:.1g} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
