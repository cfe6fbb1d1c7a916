"""What a line that begins with a slash does."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from swarm.cli.chat.answering import Answering
from swarm.cli.chat.conversation import USER, Conversation, check_system, save
from swarm.cli.support.generations import describe
from swarm.cli.support.streamed import Streamed
from swarm.errors import InvalidRequest, SwarmError
from swarm.shown import count
from swarm.storage.files import expanded


@dataclass(frozen=True)
class Command:
    """One of them. carry_out: given what stands behind its name; whether the chat goes on."""

    usage: str
    purpose: str
    carry_out: Callable[[str], object]

    @property
    def name(self) -> str:
        return self.usage.split()[0]


class Commands:
    """Of one chat. All raise SwarmError, and OSError of files, for what cannot be done; the chat goes on."""

    def __init__(
        self, conversation: Conversation, answering: Answering, shown: Streamed, model: str, file: Path | None
    ):
        """file: what the conversation was loaded from."""
        self._conversation, self._answering, self._shown, self._model = conversation, answering, shown, model
        self._own_files = {file.absolute()} if file else set()
        self.is_over = False
        commands = (
            Command("/help", "this list", self._help),
            Command("/retry", "answer the last message again, instead of what the answer was", self._retry),
            Command("/continue", "go on with an answer that stopped early", self._continue),
            Command("/system [TEXT]", "show or set the system message; - for none", self._system),
            Command("/clear", "forget all that was said, but for the system message", self._clear),
            Command("/save FILE", "write the conversation to a file of JSON, which --load FILE takes", self._save),
            Command("/stats", "route, speed, receipts and cost of the last answer", self._stats),
            Command("/quit", "leave; so does Ctrl-D", self._quit),
        )
        self._by_name = {command.name: command for command in commands} | {"/exit": commands[-1]}
        self._listed = commands

    def carry_out(self, line: str) -> None:
        name, _, rest = line.partition(" ")
        command = self._by_name.get(name.strip())
        if command is None:
            raise InvalidRequest(
                f"there is no command {name.strip()[:40]}; /help lists them (a message that begins with a slash: put a "
                "space before it)"
            )
        command.carry_out(rest.strip())

    def _help(self, rest: str) -> None:
        width = max(len(command.usage) for command in self._listed)
        lines = [f"{command.usage:{width}}  {command.purpose}" for command in self._listed]
        self._shown.note("\n".join(lines))
        self._shown.note("Ctrl-C stops an answer. A line that ends in a backslash goes on in the next one.")

    def _retry(self, rest: str) -> None:
        if self._conversation.last is None:
            raise InvalidRequest("nothing was asked yet")
        self._answering.answer(self._conversation, again=True)

    def _continue(self, rest: str) -> None:
        last = self._conversation.last
        if last is None or not (self._conversation.is_partial or last.role == USER):
            raise InvalidRequest("no answer was cut short" if last else "nothing was asked yet")
        self._answering.answer(self._conversation)

    def _system(self, rest: str) -> None:
        if rest:
            check_system(rest)
            self._conversation.system = "" if rest == "-" else rest
        shown = f"system message: {self._conversation.system}" if self._conversation.system else "no system message"
        self._shown.note(f"({shown})")

    def _clear(self, rest: str) -> None:
        self._conversation.clear()
        self._shown.note("(all is forgotten)")

    def _save(self, rest: str) -> None:
        if not rest:
            raise InvalidRequest("where to? write /save FILE")
        file = expanded(rest)
        save(self._conversation, self._model, file, replaces=file.absolute() in self._own_files)
        self._own_files.add(file.absolute())
        self._shown.note(f"({count(len(self._conversation.turns), 'message')} saved in {file})")

    def _stats(self, rest: str) -> None:
        if self._answering.last is None:
            raise SwarmError("nothing was answered yet")
        self._shown.note(describe(self._answering.last))

    def _quit(self, rest: str) -> None:
        self.is_over = True
