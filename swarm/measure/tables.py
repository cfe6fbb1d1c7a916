"""Cases as JSON, and as tables that people read. Pure."""

from collections.abc import Sequence

from swarm.measure.figures import Case, Spread


def as_row(case: Case) -> dict[str, object]:
    """For JSON: figures, and what they were made of."""
    decode, total, load = case.decode, case.total, case.load
    return {
        "engine": case.engine,
        "sessions": case.sessions,
        "context": case.context,
        "new_tokens": len(case.runs[0].tokens_s[0]),
        "runs": len(case.runs),
        "tokens_per_s": decode.median if decode else None,
        "quartiles": decode.quartiles if decode else None,
        "each": decode.values if decode else None,
        "total_tokens_per_s": total.median,
        "total_quartiles": total.quartiles,
        "prompt_tokens_per_s": case.median("prompt_per_s"),
        "first_token_s": case.median("first_token_s"),
        "step_ms": case.median("step_ms"),
        "own_cores": load and round(load.own, 2),
        "others_cores": load and round(load.others, 2),
        "formats": case.formats,
        "doubts": case.doubts,
    }


def as_cells(case: Case) -> dict[str, str]:
    """For a table that people read. A star: in doubt."""
    decode = case.decode
    return {
        "engine": case.engine,
        "sessions": str(case.sessions),
        "context": str(case.context),
        "tokens/s": (number(decode.median) if decode else "-") + "*" * bool(case.doubts),
        "quartiles": quartiles(decode) if decode else "",
        "in all": number(case.total.median),
        "prompt tokens/s": number(case.median("prompt_per_s")),
        "first token s": number(case.median("first_token_s")),
        "step ms": number(case.median("step_ms")),
    }


EXPLAINED = (
    "tokens/s: of all sessions together, over the wall time in which all of them generate; - where there was none. A "
    "star: in doubt, for the reason beneath. In all: new tokens over the time from the request to the last, prompts "
    "included. Step: the median time between two tokens of a session."
)


def quartiles(spread: Spread) -> str:
    """Nothing where it was measured once."""
    return "-".join(map(number, spread.quartiles)) if len(spread.values) > 1 else ""


def number(value: float) -> str:
    """To three figures."""
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def remarks(cases: Sequence[Case]) -> list[str]:
    """What has to be said beneath a table: whatever is in doubt, a line each."""
    return [
        f"{case.engine}, {case.sessions} x {case.context}: {'; '.join(case.doubts)}: not to be compared"
        for case in cases
        if case.doubts
    ]
