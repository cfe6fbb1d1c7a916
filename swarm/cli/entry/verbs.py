"""The verbs of `python -m swarm`: what each is for, the module that does it, and the one that says what it takes.

Both are the same where a verb imports nothing heavy. Where it does, its parser is in swarm.cli.parsers: a mistake, a
--help or a completion is not to wait for seconds until torch is there. Imports nothing heavy."""

from importlib import import_module
from typing import NamedTuple

from swarm.cli.support.parser import Parser


class Verb(NamedTuple):
    """parser: a module with make_parser() -> Parser. module: with main(arguments: list[str]) -> int."""

    purpose: str
    module: str
    parser: str

    def make_parser(self) -> Parser:
        made: Parser = import_module(self.parser).make_parser()
        return made

    def run(self, arguments: list[str]) -> int:
        """The exit status."""
        status: int = import_module(self.module).main(arguments)
        return status


def _light(purpose: str, module: str) -> Verb:
    return Verb(purpose, f"swarm.cli.{module}", f"swarm.cli.{module}")


def _heavy(purpose: str, name: str, module: str = "") -> Verb:
    """module: of what it does, where that is not called as the verb is."""
    return Verb(purpose, f"swarm.cli.{module or name}", f"swarm.cli.parsers.{name}")


VERBS = {
    "server": _heavy("serve blocks to a swarm (also: python -m swarm.server)", "server"),
    "stop": _light("end this user's servers that run on this machine", "stop"),
    "generate": _heavy("generate from a prompt", "generate"),
    "batch": _heavy("answer a file of prompts on what the swarm has left over", "batch"),
    "chat": _heavy("talk with an instruction-tuned model", "chat", "chat.verb"),
    "status": _heavy("a live picture of the swarm: coverage, peers, load, speed", "status"),
    "models": _heavy("how much of a model fits into how much memory, and what it would earn", "models", "models.verb"),
    "identity": _heavy(
        "digests of a model's weights, to compare with others; keys, export, import: of this machine", "identity"
    ),
    "receipts": _light("list, export and verify what peers signed for", "receipts"),
    "evidence": _heavy("examine evidence against peers by computing it again", "evidence"),
    "auditor": _heavy("sample a swarm's work, and check it (also: python -m swarm.auditor)", "auditor"),
    "ledger": _light("accounts, channels and stake, and the book that shows them", "ledger.verbs"),
    "earnings": _light("what this machine's servers have earned", "earnings"),
    "secret": _light("print a new secret for a private swarm", "secret"),
    "calibrate": _heavy("measure where honest ends and cheating begins, for audits", "calibrate"),
    "benchmark": _heavy("measure tokens per second across the peers of a swarm", "benchmark"),
    "demo": _heavy("three servers on this machine, two prompts, and what it took", "demo"),
    "config": _light("what counts for each option, and who says so; an example of swarm.toml", "settings.config"),
    "completion": _light("print a script with which bash, zsh or fish complete what is typed", "entry.completion"),
}
CLIENTS = ("generate", "chat", "batch")  # which have the options of clients in common


def make_parser(name: str) -> Parser:
    """Of a verb, see VERBS."""
    return VERBS[name].make_parser()
