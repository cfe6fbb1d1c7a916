"""The one parser of all verbs: whatever is wrong with a command line is one line, which says what was meant. Imports
nothing heavy."""

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, TypeAlias

from swarm import program
from swarm.cli.support.words import hint
from swarm.errors import InvalidRequest

Verbs: TypeAlias = "argparse._SubParsersAction[Parser]"
Check: TypeAlias = Callable[[argparse.Namespace], None]  # raises InvalidRequest
_VERB = "VERB"
_NEGATIVE = re.compile(r"-[\d.][\w.:]*")  # -1G is a value, which its option refuses, and no option itself
DEFAULT = "default"  # where nobody says what counts
CONFIG = "--config"  # read before all others: see swarm.cli.settings
_WRITTEN_OUT = {CONFIG, "--json", "--exit-with-parent", "--help"}  # looked for before anything is parsed
_CONFIG_HELP = "takes what is not typed from there; see swarm config"


class WrongUsage(InvalidRequest):
    """A command line that is none of this program's."""


class Parser(argparse.ArgumentParser):
    """Of a verb, and of a verb's verbs. Raises WrongUsage, instead of ending the process."""

    def __init__(self, *words: str, has_settings: bool = True, tells_events: bool = False, **options: Any):
        """words: the verb; none for a verb's verb. has_settings: a file of settings may say what counts.
        tells_events: with --json, errors are events as well. options: as argparse has them; "{prog}" in `usage` and
        `description` is what to type."""
        options.setdefault("prog", program.command(*words))
        for name in ("usage", "description"):
            if options.get(name):
                options[name] = options[name].replace("{prog}", options["prog"])
        super().__init__(**options)
        self.words, self.has_settings, self.tells_events = words, has_settings, tells_events
        self._negative_number_matcher = _NEGATIVE
        self._origins: dict[str, tuple[str, object]] = {}  # by dest
        self._checks: list[Check] = []
        if has_settings:
            self.add_argument(CONFIG, metavar="FILE", default=argparse.SUPPRESS, help=_CONFIG_HELP)

    def add_verbs(self, *, required: bool = True) -> Verbs:
        """For a verb that has verbs of its own, or may have."""
        return self.add_subparsers(required=required, dest="verb", metavar=_VERB, prog=self.prog)

    def must(self, check: Check) -> None:
        """Also what is typed is to pass this, which knows all of it at once."""
        self._checks.append(check)

    def verbs(self) -> "dict[str, Parser]":
        """Its own verbs, by name."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                return dict(action.choices)
        return {}

    def settings(self) -> Iterator[argparse.Action]:
        """Options that are documented, but for --help."""
        for action in self._actions:
            is_listed = argparse.SUPPRESS not in (action.help, action.default)
            if action.option_strings and is_listed and not isinstance(action, argparse._HelpAction):
                yield action

    def convert(self, action: argparse.Action, text: str) -> object:
        """The value of an option that was written so. Raises InvalidRequest."""
        try:
            value = self._get_value(action, text)
            self._check_value(action, value)
        except argparse.ArgumentError as error:
            raise InvalidRequest(error.message) from error
        return value

    def set_default(self, action: argparse.Action, value: object, written: object, origin: str) -> None:
        """What counts where the option is not typed. written: the same as people write it; origin: who says so."""
        self.set_defaults(**{action.dest: value})
        action.required = False
        self._origins[action.dest] = origin, written

    def origin(self, action: argparse.Action) -> tuple[str, object]:
        """Who says what counts where the option is not typed, and what that is."""
        return self._origins.get(action.dest, (DEFAULT, action.default))

    def read(self, arguments: Sequence[str]) -> argparse.Namespace:
        """Raises WrongUsage, InvalidRequest."""
        check_text(arguments)
        parsed, rest = self.parse_known_args(arguments)
        if rest:
            self._deepest(arguments).refuse(rest)
        for check in self._checks:
            check(parsed)
        return parsed

    # --- what argparse asks for --------------------------------------------------------------------------------------

    def refuse(self, unknown: Sequence[str]) -> NoReturn:
        """Raises WrongUsage for words that are not known."""
        option = next((word for word in unknown if word.startswith("-")), "")
        if option:
            self.error(f"unknown option {option.split('=', 1)[0]}{hint(option, list(self._option_string_actions))}")
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        self.error(f"{unknown[0]!r:.80}{more}: nothing of that kind is expected here")

    def error(self, message: str) -> NoReturn:
        """Raises WrongUsage."""
        line = " ".join(message.removeprefix("argument ").removeprefix(f"{_VERB}: ").split())
        line = line.replace(": must be ", " must be ", 1)
        if line.endswith(f"required: {_VERB}"):
            line = f"say which: {', '.join(self.verbs())}"
        separator = " " if line[-1:] in "?;" else "; "
        raise WrongUsage(f"{line}{separator}see {self.prog} --help")

    def _print_message(self, message: str, file: Any = None) -> None:
        """argparse's own passes over a full disk, and over whoever reads no further."""
        (file or sys.stdout).write(message)

    def _deepest(self, arguments: Sequence[str]) -> "Parser":
        """The parser of the verb's verb that was typed."""
        deepest = self
        for word in arguments:
            deepest = deepest.verbs().get(word, deepest)
        return deepest

    def _get_option_tuples(self, option_string: str) -> list[Any]:
        """What an abbreviation may stand for: not for what must be written out, nor for old names."""
        found = super()._get_option_tuples(option_string)
        return [one for one in found if one[0].help != argparse.SUPPRESS and not self._is_written_out(one[0])]

    def _is_written_out(self, action: argparse.Action) -> bool:
        return not _WRITTEN_OUT.isdisjoint(action.option_strings)

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        """Who writes a word behind an option that takes several is told that it was taken for one of these."""
        try:
            return super()._get_values(action, arg_strings)
        except argparse.ArgumentError as error:
            words = next((one for one in self._actions if not one.option_strings and one.metavar != _VERB), None)
            if action.option_strings and action.nargs == "+" and len(arg_strings) > 1 and words:
                name = words.metavar or words.dest
                error.message += f"; it takes all words that follow it, so {name} goes before it"
            raise

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        """Our own types say what is wrong; the option is named before it."""
        if action.type is int and not _is_whole(arg_string):
            raise argparse.ArgumentError(action, f"{arg_string!r:.40} is not a whole number")
        if action.type is float and not _is_number(arg_string):
            raise argparse.ArgumentError(action, f"{arg_string!r:.40} is not a number")
        try:
            return super()._get_value(action, arg_string)
        except InvalidRequest as error:
            raise argparse.ArgumentError(action, str(error)) from error

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = [str(one) for one in action.choices]
            what = f"unknown verb {value!r:.40}" if action.metavar == _VERB else f"{str(value)!r:.40} is not known"
            advice = hint(str(value), known)
            raise argparse.ArgumentError(action, f"{what}; choose from {', '.join(known)}{advice}")


def _converts(convert: Callable[[str], object], text: str) -> bool:
    try:
        convert(text)
    except (ValueError, OverflowError):
        return False
    return True


def _is_whole(text: str) -> bool:
    return _converts(int, text)


def _is_number(text: str) -> bool:
    return _converts(float, text)


def check_text(arguments: Sequence[str]) -> None:
    """Raises WrongUsage for an argument whose bytes are not UTF-8."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError as error:
            raise WrongUsage(f"{argument!r:.80} is not UTF-8; write it in a terminal that uses UTF-8") from error
