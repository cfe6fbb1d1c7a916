"""Amounts of memory, as people write them."""

from swarm.errors import InvalidRequest

_LEAST_BYTES = 2**20  # without a unit: what is less can only be a mistake
_UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def size(text: str) -> int:
    """Bytes: '512M' -> 536870912. Raises InvalidRequest."""
    number, unit = text.strip().lower().removesuffix("ib").removesuffix("b"), ""
    if number and number[-1] in _UNITS:
        number, unit = number[:-1], number[-1]
    try:
        found = int(float(number) * _UNITS[unit])
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(f"{text!r:.40} is not a size; write it like 512M or 2G") from error
    if found <= 0:
        raise InvalidRequest(f"{text!r:.40} is no memory at all; write it like 512M or 2G")
    if not unit and found < _LEAST_BYTES:
        raise InvalidRequest(f"{text} bytes? For {text} GiB, write {text}G, for MiB {text}M")
    return found
