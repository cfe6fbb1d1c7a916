"""Things in few words, for a `repr` and for messages: nothing is ever longer than a line."""

import math
import reprlib


class _Repr(reprlib.Repr):
    def repr_int(self, x: int, level: int) -> str:
        return super().repr_int(x, level) if _is_written(x) else figure(x)


_SHORT = _Repr()
_SHORT.maxstring = _SHORT.maxother = 40
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxset = _SHORT.maxfrozenset = _SHORT.maxdict = 4

TEXT = 60  # characters of a text that are shown
_WRITTEN_BITS = 2**12  # numbers up to there are written out: Python refuses to at some thousand digits


def value(it: object) -> str:
    """A value that somebody gave, and what it is: "'0.9' (str)"."""
    words = " ".join(_SHORT.repr(it).split())
    return words if it is None or isinstance(it, bool) else f"{words} ({type(it).__name__})"


def figure(it: int) -> str:
    """A whole number of any length."""
    return str(it) if _is_written(it) else f"a number of {round(it.bit_length() * math.log10(2)):,} digits"


def _is_written(it: int) -> bool:
    return it.bit_length() <= _WRITTEN_BITS


def text(it: str, most: int = TEXT) -> str:
    """In quotes, cut after `most` characters."""
    return repr(it) if len(it) <= most else f"{it[:most]!r}…"


def span(it: tuple[int, int]) -> str:
    """Of blocks or positions: "0:10"."""
    return f"{it[0]}:{it[1]}"


def count(number: int, what: str) -> str:
    """ "1 token", "2 tokens"."""
    return f"{number:,} {what}" + ("" if number == 1 else "s")
