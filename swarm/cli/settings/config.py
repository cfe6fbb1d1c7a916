"""`python -m swarm config`: what counts for each option, and who says so."""

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from swarm.cli.entry import verbs
from swarm.cli.settings.example import EXAMPLE
from swarm.cli.settings.files import SettingsFile, default_file, find_file
from swarm.cli.settings.reading import ENVIRONMENT, apply, check, find_settings, names_of
from swarm.cli.support.arguments import add_json
from swarm.cli.support.parser import CONFIG, DEFAULT, Parser
from swarm.cli.support.terminal import print_table, run
from swarm.cli.support.words import hint
from swarm.errors import InvalidRequest
from swarm.home.folder import writing_to
from swarm.storage.files import expanded
from swarm.storage.outputs import write_output

_SECRET = "SWARM_SECRET"


class Setting(NamedTuple):
    """One option of one verb."""

    verb: str
    option: str
    value: object
    source: str


def main(arguments: list[str]) -> int:
    return run(make_parser(), arguments, _config)


def make_parser() -> Parser:
    parser = Parser(
        "config",
        has_settings=False,
        usage="{prog} [VERB ...] [options]",
        description="Show what counts for each option of a verb, or of all, and who says so: the environment, a file "
        "(line by line), or nobody. Options can be kept in swarm.toml under SWARM_HOME, or in another file, which "
        "SWARM_CONFIG or --config names: those of a verb in a section of its name, those that generate, chat and "
        "batch share in [client], model, peers and ledger of all in [all].",
    )
    add = parser.add_argument
    add("words", nargs="*", metavar="VERB", help="such as generate, or ledger serve (default: all)")
    add(CONFIG, metavar="FILE", help="look at this one (default: the one that counts)")
    add("--example", action="store_true", help="print a file to begin with, in which nothing counts yet")
    add("--init", action="store_true", help="write that file where it will be looked for, if there is none")
    add_json(parser, "print one JSON object per option")
    return parser


def _config(args: argparse.Namespace) -> None:
    if args.example or args.init:
        _show_example(args)
        return
    named = [CONFIG, args.config] if args.config else []
    file, where = find_settings(named), find_file(named)
    if file:
        check(file)
    found = list(_found(args.words, file))
    if args.json:
        for setting in found:
            print(json.dumps(setting._asdict()))
        return
    print(f"File: {where or f'none ({default_file()} would count)'}")
    print_table(("verb", "option", "value", "from"), [_cells(setting) for setting in found])


def _show_example(args: argparse.Namespace) -> None:
    if not args.init:
        print(EXAMPLE, end="")
        return
    path = expanded(args.config) if args.config else default_file()
    with writing_to(path):
        if os.path.lexists(path):  # also a link to nowhere
            raise InvalidRequest(f"{path} exists; look at an example with --example")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_output(path, EXAMPLE)
    print(
        json.dumps({"file": str(path)}) if args.json else f"{path} is written; nothing counts in it before you say so."
    )


def _found(words: Sequence[str], file: SettingsFile | None) -> Iterator[Setting]:
    """Of the verb that is named, or of all. Raises InvalidRequest."""
    known = list(verbs.VERBS)
    if words and words[0] not in known:
        raise InvalidRequest(f"no verb {words[0]!r:.40}{hint(words[0], known)}")
    for name in words[:1] or known:
        parser = verbs.make_parser(name)
        apply(parser, file)
        for word in words[1:]:
            if word not in parser.verbs():
                raise InvalidRequest(f"{name} has no verb {word!r:.40}{hint(word, list(parser.verbs()))}")
            parser, name = parser.verbs()[word], f"{name} {word}"
        yield from _of(name, parser)


def _of(verb: str, parser: Parser) -> Iterator[Setting]:
    for action in parser.settings():
        option = names_of(action)[0]
        variable = ENVIRONMENT.get(option, "")
        if said := os.environ.get(variable):
            yield Setting(verb, option, "(not shown)" if variable == _SECRET else said, variable)
        else:
            source, value = parser.origin(action)
            if source == DEFAULT and action.nargs == 0:
                value = value == action.const  # whether the flag is set
            yield Setting(verb, option, _plain(value), source)
    for name, below in parser.verbs().items():
        yield from _of(f"{verb} {name}", below)


def _plain(value: object) -> object:
    """For JSON, and as people write it."""
    if isinstance(value, list | tuple):
        return [":".join(map(str, one)) if isinstance(one, tuple) else str(one) for one in value if one is not None]
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _cells(setting: Setting) -> tuple[str, ...]:
    return setting.verb, f"--{setting.option}", _shown(setting.value), setting.source


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
