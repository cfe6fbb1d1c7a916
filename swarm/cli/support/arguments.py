"""Arguments that several verbs have, each declared once. Imports nothing heavy: some verbs are to start at once."""

import argparse
import sys
from collections.abc import Callable, Sequence

from swarm.cli.support import parsing
from swarm.storage.files import expanded

_WARNED: set[str] = set()
LEDGER = "a folder, HOST:PORT/FINGERPRINT or evm:FILE.json"


class Renamed(argparse.Action):
    """The old name of an argument, taken for one more release. dest: of the new one."""

    def __init__(self, option_strings: Sequence[str], dest: str, type: Callable[[str], object]):
        super().__init__(option_strings, dest, type=type, default=argparse.SUPPRESS, help=argparse.SUPPRESS)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        new = f"--{self.dest.replace('_', '-')}"
        if self.dest not in _WARNED:  # arguments are read twice where the work takes long to import
            _WARNED.add(self.dest)
            print(f"warning: {option_string} is called {new} now, and gone in the next release", file=sys.stderr)
        setattr(namespace, self.dest, values)


def add_model(parser: argparse._ActionsContainer, of: str = "") -> None:
    """--model and --revision. of: what for, such as "of evidence: "."""
    add_model_name(parser, of)
    parser.add_argument("--revision", metavar="REV", help="branch, tag or commit of a Hugging Face repository")


def add_model_name(parser: argparse._ActionsContainer, of: str = "", default: str | None = "demo") -> None:
    """--model alone, where its files are not needed. default: None: `of` says what."""
    known = "Hugging Face repository, folder of safetensors, .gguf file, or 'demo'"
    parser.add_argument("--model", default=default, help=f"{of}{known}")


def add_members(parser: argparse._ActionsContainer, default: str = "SWARM_PEERS, or a swarm on this machine") -> None:
    """--peers and --secret-file: which swarm."""
    add = parser.add_argument
    add("--peers", nargs="+", type=parsing.peer, metavar="ADDR", help=f"swarm members (default: {default})")
    add("--secret-file", type=expanded, metavar="FILE", help="of a private swarm (default: SWARM_SECRET, if set)")


def add_json(parser: argparse._ActionsContainer, what: str = "print one JSON object") -> None:
    parser.add_argument("--json", action="store_true", help=what)
