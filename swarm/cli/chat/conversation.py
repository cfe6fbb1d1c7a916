"""What was said so far, as it is sent to the model, kept, and written to a file. Pure, but for that file."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from swarm.errors import InvalidRequest, UnusableFile
from swarm.kinds import is_text
from swarm.storage.files import parse_json, read_regular, write_whole

USER, ASSISTANT, SYSTEM = "user", "assistant", "system"
STOPS = ("interrupted", "length", "failed")
_MOST_BYTES = 2**26

Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Turn:
    """What one side said. stopped: why an answer is not whole, one of STOPS; else empty."""

    role: str
    content: str
    stopped: str = ""


@dataclass
class Conversation:
    """User and assistant take turns; the last turn may be a question that has no answer yet."""

    system: str = ""
    turns: list[Turn] = field(default_factory=list)
    forgotten: int = 0  # of `turns`, the oldest that are not sent any more

    @property
    def last(self) -> Turn | None:
        return self.turns[-1] if self.turns else None

    @property
    def is_partial(self) -> bool:
        """Whether the last turn is an answer that could go on."""
        return self.last is not None and bool(self.last.stopped)

    def ask(self, text: str) -> None:
        """A question that got no answer becomes part of this one: models expect the two sides to take turns."""
        if self.last and self.last.role == USER:
            self.turns[-1] = Turn(USER, f"{self.last.content}\n\n{text}")
        else:
            self.turns.append(Turn(USER, text))

    def answer(self, text: str, stopped: str = "") -> None:
        """A new answer, or what a partial one went on with. Nothing was said: nothing is added."""
        if self.is_partial:
            self.turns[-1] = Turn(ASSISTANT, self.turns[-1].content + text, stopped)
        elif text:
            self.turns.append(Turn(ASSISTANT, text, stopped))

    def take_back_answer(self) -> Turn | None:
        """The last turn, if it is an answer: the question before it waits for another one now."""
        return self.turns.pop() if self.last and self.last.role == ASSISTANT else None

    def clear(self) -> None:
        """All but the system message."""
        self.turns.clear()
        self.forgotten = 0

    def messages(self) -> Messages:
        """What is sent."""
        system = [Turn(SYSTEM, self.system)] if self.system else []
        return [{"role": turn.role, "content": turn.content} for turn in [*system, *self.turns[self.forgotten :]]]

    def forget_oldest(self) -> bool:
        """Send one exchange less from now on. Whether there was one to leave out beside the last question."""
        questions = [place for place, turn in enumerate(self.turns) if turn.role == USER and place > self.forgotten]
        if not questions:
            return False
        self.forgotten = questions[0]
        return True


def shorten(conversation: Conversation, count: Callable[[Conversation], int], most: int) -> bool:
    """Leave out the oldest exchanges until `count`, of tokens, is at most `most`. Whether that was possible: else
    nothing has changed."""
    shorter = replace(conversation)
    while count(shorter) > most:
        if not shorter.forget_oldest():
            return False
    conversation.forgotten = shorter.forgotten
    return True


def check_system(text: str) -> None:
    """Raises InvalidRequest for what is no text: neither sent nor saved could it be."""
    if not is_text(text):
        raise InvalidRequest("the system message is not UTF-8")


# --- files -----------------------------------------------------------------------------------------------------------


def save(conversation: Conversation, model: str, file: Path, replaces: bool) -> None:
    """Raises UnusableFile if the file is there already, unless it `replaces` that; OSError."""
    if not replaces and file.exists():
        raise UnusableFile(f"{file} is there already; choose another name, or remove it")
    saved = {"model": model, "messages": [_as_json(turn) for turn in _with_system(conversation)]}
    write_whole(file, (json.dumps(saved, indent=1, ensure_ascii=False) + "\n").encode())


def load(file: Path) -> Conversation:
    """What `save` wrote, or a list of messages as others write them. Raises UnusableFile; OSError."""
    try:
        found = parse_json(read_regular(file, _MOST_BYTES))
    except ValueError as error:
        raise UnusableFile(f"{file} is no conversation: it is not JSON ({error})") from error
    messages = found.get("messages") if isinstance(found, dict) else found
    if not isinstance(messages, list):
        raise UnusableFile(f"{file} is no conversation: it has no list of messages")
    turns = [_turn(message, f"{file}, message {place}") for place, message in enumerate(messages)]
    system = turns.pop(0).content if turns and turns[0].role == SYSTEM else ""
    _check_order(turns, file)
    return Conversation(system, turns)


def _with_system(conversation: Conversation) -> list[Turn]:
    system = [Turn(SYSTEM, conversation.system)] if conversation.system else []
    return [*system, *conversation.turns]


def _as_json(turn: Turn) -> dict[str, str]:
    stopped = {"stopped": turn.stopped} if turn.stopped else {}
    return {"role": turn.role, "content": turn.content, **stopped}


def _turn(message: Any, where: str) -> Turn:
    match message:
        case {"role": "system" | "user" | "assistant" as role, "content": str(content)}:
            if not is_text(content):
                raise UnusableFile(f"{where}, has half characters in it, which are no text")
            stopped = message.get("stopped", "") if role == ASSISTANT else ""
            return Turn(role, content, stopped if stopped in STOPS else "")
    raise UnusableFile(f'{where}, is {message!r:.60}, not an object with a "role" and "content", a text')


def _check_order(turns: Sequence[Turn], file: Path) -> None:
    """Raises UnusableFile unless user and assistant take turns."""
    for place, turn in enumerate(turns):
        if turn.role != (USER, ASSISTANT)[place % 2]:
            raise UnusableFile(f"{file} is no conversation: user and assistant do not take turns in it")
