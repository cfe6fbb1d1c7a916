"""Calls that somebody wrote down who had not seen the code: what a user may type, and what is to come of it.

A list of them is a JSON file, an object a call:

    id, kind        "cli" or "python"
    needs_swarm     a swarm of two servers, 0:2 and 2:4, is there: SWARM_PEERS names it; in Python `peers`, and `client`
    setup           before it, in the same shell or program, in an empty folder
    call            a command line; in Python an expression
    expect          "works" or "error"
    exit_status     of a command line
    exception       in Python: "swarm error" (a SwarmError), or the name that one catches it by
    mentions        what the one line of an error says, each of these
    why             somebody would do so

Where something else holds here, another file says so by id: what differs of "expect", "exit_status" and "exception",
and "because". What an error mentions is never among that.

In a command line $MODEL is a folder with a model of four blocks, and $SHORT the end of the id of the only peer that
serves 0:2; in Python they are `model` and `short`.
"""

import json
import os
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from shells import Outcome


class Call(NamedTuple):
    """One of a list, with what was decided in place of what was written."""

    id: str
    kind: str
    needs_swarm: bool
    setup: str
    call: str
    works: bool
    exit_status: int | None
    exception: str
    mentions: tuple[str, ...]


def read_calls(file: Path, decided: Mapping[str, Mapping[str, Any]]) -> list[Call]:
    """decided: see above."""
    return [_read({**entry, **decided.get(entry["id"], {})}) for entry in json.loads(file.read_text())]


def _read(holds: Mapping[str, Any]) -> Call:
    works = holds["expect"] == "works"
    values = {name: holds[name] for name in Call._fields if name not in ("works", "mentions")}
    return Call(works=works, mentions=tuple(holds["mentions"]), **values)


def complaint_of(call: Call, namespace: dict[str, Any]) -> str:
    """What is wrong with the outcome of a call in Python, here and now; empty: nothing. namespace: what it knows."""
    exec(call.setup, namespace)
    try:
        result = eval(call.call, namespace)
    except Exception as error:
        name = "SwarmError" if call.exception == "swarm error" else call.exception
        fits = name in (one.__name__ for one in type(error).__mro__)
        if call.works or not fits:
            return "".join(traceback.format_exception(error))
        return _complaint_of_line(call, str(error))
    return "" if call.works else f"it gave {result!r:.200}"


def complaint(call: Call, outcome: Outcome) -> str:
    """The same for a command line."""
    if outcome.status != call.exit_status:
        return f"exit status {outcome.status}, not {call.exit_status}: {outcome.errors}"
    if "Traceback" in outcome.errors + outcome.output:
        return outcome.errors
    if call.works:
        return ""
    lines = outcome.errors.splitlines()
    if len(lines) != 1 or not lines[0].startswith("error: "):
        return f"not one line: {outcome.errors}"
    return _complaint_of_line(call, lines[0])


def _complaint_of_line(call: Call, line: str) -> str:
    if not line or "\n" in line:
        return f"not one line: {line}"
    missing = [word for word in call.mentions if word.lower() not in line.lower()]
    return f"no mention of {missing}: {line}" if missing else ""


def environment(home: Path, model: str, short: str, peers: str = "") -> dict[str, str]:
    """Of a shell in which nothing else of a swarm is set."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SWARM")}
    known = {"SWARM_PEERS": peers} if peers else {}
    return {**kept, **known, "SWARM_HOME": str(home), "MODEL": model, "SHORT": short}
