"""What a settings file says, as what counts where an option is not typed: each value is checked as if it were.

What is typed counts before the environment, that before the file, and the file before the default. In the file a verb's
own section counts before [client], which generate, chat and batch share, and that before [all].
"""

import argparse
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from swarm.cli.entry import verbs
from swarm.cli.settings.files import SettingsFile, find_file, read_file
from swarm.cli.support.parser import Parser
from swarm.cli.support.words import hint
from swarm.errors import InvalidRequest
from swarm.shown import text as quoted
from swarm.storage.files import expanded

ALL = "all"  # verbs that have it
COMMON = ("model", "revision", "peers", "secret-file", "ledger")  # which may be there
CLIENT = "client"
ENVIRONMENT = {"peers": "SWARM_PEERS", "secret-file": "SWARM_SECRET", "ledger": "SWARM_LEDGER"}
_HELP = ("-h", "--help")
_NO_VALUE = "is text or a number here"


def parse(parser: Parser, arguments: Sequence[str]) -> argparse.Namespace:
    """The arguments of a verb. Raises InvalidRequest."""
    if parser.has_settings and not set(_HELP) & set(arguments):
        apply(parser, find_settings(arguments))
    return parser.read(arguments)


def find_settings(arguments: Sequence[str]) -> SettingsFile | None:
    """Of the file that counts, None if there is none. Raises InvalidRequest."""
    path = find_file(arguments)
    return read_file(path) if path else None


def apply(parser: Parser, file: SettingsFile | None) -> None:
    """Let what the file says count. Raises InvalidRequest for what concerns this verb and is not known or not right."""
    if file is None:
        return
    _check_sections(file)
    for layer in _layers(parser, file):
        _apply(parser, layer)


def check(file: SettingsFile) -> None:
    """All sections, those of other verbs as well. Raises InvalidRequest."""
    for name in verbs.VERBS:
        apply(verbs.make_parser(name), file)


class _Layer(NamedTuple):
    """A section. name: "ledger.serve"; empty: the whole file."""

    file: SettingsFile
    name: str
    table: Mapping[str, Any]

    def nested(self, verb: str) -> "_Layer":
        table = self.table.get(verb)
        name = f"{self.name}.{verb}" if self.name else verb
        return _Layer(self.file, name, table if isinstance(table, dict) else {})

    def values(self) -> Iterator[tuple[str, Any]]:
        return ((key, value) for key, value in self.table.items() if not isinstance(value, dict))

    def wrong(self, key: str, what: str) -> InvalidRequest:
        return InvalidRequest(f"{self.file.where(self.name, key)}: {_shown(key)} {what}")


def _layers(parser: Parser, file: SettingsFile) -> Iterator[_Layer]:
    """Those of one verb, what counts most at the end. Raises InvalidRequest."""
    top = _Layer(file, "", file.table)
    yield top.nested(ALL)
    verb = parser.words[0]
    if verb in verbs.CLIENTS and CLIENT in file.table:
        layer = top.nested(CLIENT)
        _check_keys(layer, [verbs.make_parser(name) for name in verbs.CLIENTS])
        yield layer
    layer = top.nested(verb)
    _check_keys(layer, [parser])
    yield layer


def _check_sections(file: SettingsFile) -> None:
    sections = [ALL, CLIENT, *verbs.VERBS]
    for key, value in file.table.items():
        if not isinstance(value, dict):
            raise InvalidRequest(
                f"{file.where('', key)}: {_shown(key)} is in no section; {', '.join(COMMON)} are in [{ALL}], other "
                "options in their verb's, such as [server]"
            )
        if key not in sections:
            raise InvalidRequest(f"{file.where(key)}: no verb {key!r:.40}{hint(key, sections)}")
    for key, value in file.table.get(ALL, {}).items():
        if _plain(key) not in COMMON:
            advice = hint(_plain(key), COMMON) or f"; it can have {', '.join(COMMON)}"
            raise InvalidRequest(f"{file.where(ALL, key)}: {_shown(key)} is no setting of [{ALL}]{advice}")
        if isinstance(value, dict):
            raise InvalidRequest(f"{file.where(ALL, key)}: {_shown(key)} {_NO_VALUE}")


def _check_keys(layer: _Layer, parsers: Sequence[Parser]) -> None:
    """That each is an option of one of them, or of one of their verbs."""
    known = {name for parser in parsers for name in _all_names(parser)}
    own = {name for parser in parsers for name in parser.verbs()}
    for key, value in layer.table.items():
        if not isinstance(value, dict):
            if _plain(key) not in known:
                raise layer.wrong(key, f"is no option of {layer.name}{hint(_plain(key), sorted(known))}")
        elif key not in own:
            where = layer.file.where(f"{layer.name}.{key}")
            raise InvalidRequest(f"{where}: no section {layer.name}.{_shown(key)}{hint(key, sorted(own))}")
        else:
            _check_keys(layer.nested(key), [parser.verbs()[key] for parser in parsers if key in parser.verbs()])


def _apply(parser: Parser, layer: _Layer) -> None:
    options = {name: action for action in parser.settings() for name in names_of(action)}
    for key, value in layer.values():
        name = _plain(key)
        if name not in options or os.environ.get(ENVIRONMENT.get(name, "")):
            continue
        action = options[name]
        try:
            converted = _converted(parser, action, value)
        except InvalidRequest as error:
            raise layer.wrong(
                key, str(error) if str(error).startswith(("is ", "must ")) else f"is wrong: {error}"
            ) from None
        parser.set_default(action, converted, value, layer.file.where(layer.name, key))
    for verb, below in parser.verbs().items():
        _apply(below, _Layer(layer.file, layer.name, dict(layer.values())))
        _apply(below, layer.nested(verb))


def _converted(parser: Parser, action: argparse.Action, value: Any) -> object:
    """A value as the option has it. Raises InvalidRequest."""
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise InvalidRequest("is true or false")
        return action.const if value else not action.const
    if action.nargs in ("+", "*"):
        return [parser.convert(action, _text(one)) for one in (value if isinstance(value, list) else [value])]
    return parser.convert(action, _text(value))


def _text(value: Any) -> str:
    """As it would be typed."""
    if isinstance(value, str):
        return str(expanded(value)) if value.startswith("~/") else value
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return str(value)
        except ValueError as error:  # there is no end of its digits
            raise InvalidRequest("is a number of too many digits") from error
    raise InvalidRequest(_NO_VALUE)


def _all_names(parser: Parser) -> Iterator[str]:
    for action in parser.settings():
        yield from names_of(action)
    for below in parser.verbs().values():
        yield from _all_names(below)


def names_of(action: argparse.Action) -> list[str]:
    """As they are written in the file: max-new-tokens."""
    return [option[2:] for option in action.option_strings if option.startswith("--")]


def _shown(key: str) -> str:
    """In quotes, if it has characters that an option has not."""
    return key if re.fullmatch(r"[\w.-]{1,40}", key, re.ASCII) else quoted(key, 40)


def _plain(key: str) -> str:
    return key.replace("_", "-")
