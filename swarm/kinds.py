"""What an option's value may be: for each kind one check, which gives back what is worked with, or raises one line.

A frozen dataclass of options says the kind of each of its fields in a table, and calls `settle` when it is made. What
numpy has for a number is a number here, True is none, and text is never taken for a number.
"""

import math
import os
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any

from swarm import shown
from swarm.errors import InvalidRequest, UnknownOption
from swarm.wire.formats.amounts import check_amount, parse_amount

Kind = Callable[[str, Any], Any]  # an option's name and value -> the value as it is used; raises InvalidRequest

_LARGEST = 2**64 - 1  # of whole numbers that have no other limit
_ALIKE = 0.75  # how much of its letters a slip of the keyboard leaves in place; less is another word
YEAR_S = 365 * 86_400.0  # longer than any timer has to run


def settle(options: object, kinds: Mapping[str, Kind]) -> None:
    """Check the fields of a frozen dataclass in its __post_init__, and put what their kinds make of them in place."""
    for name, kind in kinds.items():
        object.__setattr__(options, name, kind(name, getattr(options, name)))


def refused(name: str, wanted: str, value: object) -> InvalidRequest:
    """The error for an option that is something else than what is wanted."""
    return InvalidRequest(f"{name} is {wanted}, not {shown.value(value)}")


def unknown(name: str, known: Iterable[str], hints: Mapping[str, str], of: str) -> UnknownOption:
    """The error for an option that there is not. hints: for names that other libraries use, what it is called here, or
    what to do instead. of: what to call help() on for those there are."""
    known, hint = list(known), hints.get(name.lower(), "")
    if not hint:
        hint = next(iter(get_close_matches(name.lower(), known, 1, _ALIKE)), "")
    said = f"did you mean {hint}?" if hint in known else hint or f"help({of}) lists the options"
    return UnknownOption(f"unknown option {name!r:.40}; {said}")


def whole(least: int | None = None, most: int | None = None, otherwise: str = "") -> Kind:
    """A whole number. otherwise: what else may be given, or what it means, to be said where it is wrong."""
    wanted = f"a whole number{_bounds(least, most)}{otherwise}"

    def take(name: str, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, Integral) or not _is_within(int(value), least, most):
            raise refused(name, wanted, value)
        if abs(int(value)) > _LARGEST:
            raise refused(name, f"{wanted}, and of {len(str(_LARGEST))} digits at most", value)
        return int(value)

    return take


def number(least: float | None = None, most: float | None = None, *, endless: bool = False, wanted: str = "") -> Kind:
    """A number. endless: it may be infinite. wanted: to be said instead of "a number from ... to ..."."""
    said = wanted or f"a number{_bounds(least, most)}"

    def take(name: str, value: object) -> float:
        figure = _as_float(value)
        if figure is None or (math.isinf(figure) and not endless) or not _is_within(figure, least, most):
            raise refused(name, said, value)
        return figure

    return take


def seconds(least: float = 0.0, *, endless: bool = False) -> Kind:
    """A number of seconds. endless: also for ever."""
    wanted = f"a number of seconds, {least:g} or more"
    if endless:
        return number(least, endless=True, wanted=wanted)
    return number(least, YEAR_S, wanted=f"{wanted} and a year at most")


def flag(name: str, value: object) -> bool:
    """True or False, also numpy's."""
    if isinstance(value, bool) or f"{type(value).__module__}.{type(value).__name__}" in ("numpy.bool", "numpy.bool_"):
        return bool(value)
    raise refused(name, "True or False", value)


def one_of(known: Iterable[str]) -> Kind:
    """One of these words."""
    words = tuple(known)

    def take(name: str, value: object) -> str:
        if not isinstance(value, str):
            raise refused(name, f"one of {', '.join(words)}", value)
        if value not in words:
            raise InvalidRequest(f"unknown {name} {shown.text(value, 40)}; use one of {', '.join(words)}")
        return value

    return take


def text(name: str, value: object) -> str:
    """Not empty, and without the half characters that Python makes of bytes that are not UTF-8."""
    if not isinstance(value, str) or not value or not is_text(value):
        raise refused(name, "text", value)
    return value


def hidden_text(name: str, value: object) -> str:
    """Text that no message repeats."""
    if not isinstance(value, str):
        raise InvalidRequest(f"{name} is text, not {type(value).__name__}")
    return value


def path(name: str, value: object) -> str:
    """Text or a pathlib.Path, as text, without what no file's name has."""
    written = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(written, str) or not is_text(written) or "\0" in written:
        raise refused(name, "text or a path", value)
    return written


def texts(name: str, value: object) -> tuple[str, ...]:
    """One text, or several in a list or the like."""
    several = [value] if isinstance(value, str) else value
    if not isinstance(several, Iterable) or isinstance(several, bytes | bytearray | Mapping):
        raise refused(name, "text, or a list of texts", value)
    given = tuple(several)
    for one in given:
        if not isinstance(one, str) or not one or not is_text(one):
            raise InvalidRequest(f"{name} is text, or a list of texts, and no text is {shown.value(one)}")
    return given


def amount(name: str, value: object) -> int:
    """Nano-credits, or credits as text."""
    if not isinstance(value, str):
        value = whole(0, otherwise=" (nano-credits), or credits as text, like '0.5'")(name, value)
    try:
        return parse_amount(value) if isinstance(value, str) else check_amount(value)
    except InvalidRequest as error:
        raise InvalidRequest(f"{name}: {error}") from error


def optional(kind: Kind, instead: object = None) -> Kind:
    """Or None. instead: what None stands for."""
    return lambda name, value: instead if value is None else kind(name, value)


def function(name: str, value: object) -> object:
    """Anything that can be called."""
    if not callable(value):
        raise refused(name, "a function", value)
    return value


def is_text(it: str) -> bool:
    """Whether it has no half characters."""
    return it.isascii() or not any("\ud800" <= one <= "\udfff" for one in it)


def _as_float(value: object) -> float | None:
    """None: it is no number, "not a number" included, or a larger one than a float holds."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        figure = float(value)
    except OverflowError:
        return None
    return None if math.isnan(figure) else figure


def _is_within(figure: float, least: float | None, most: float | None) -> bool:
    return (least is None or figure >= least) and (most is None or figure <= most)


def _bounds(least: float | None, most: float | None) -> str:
    if most is None:
        return "" if least is None else f" from {_figure(least)} up"
    return f" up to {_figure(most)}" if least is None else f" from {_figure(least)} to {_figure(most)}"


def _figure(it: float) -> str:
    return f"{it:,}" if isinstance(it, int) else f"{it:g}"
