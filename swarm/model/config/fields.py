"""Typed, checked access to a dict that a stranger wrote."""

import math
from collections.abc import Mapping
from typing import Any

from swarm.errors import ModelError

# The limit of float32. JSON integers have none, and float() of a huge one raises OverflowError.
_LARGEST = 3.4e38


class Fields:
    """Every getter raises ModelError, naming the field, for a value that is missing or makes no sense.

    A field that is null counts as missing, as it does in transformers.
    """

    def __init__(self, values: Mapping[str, Any], prefix: str = "config: "):
        self._values = values
        self.prefix = prefix

    def __contains__(self, name: str) -> bool:
        return self._values.get(name) is not None

    def is_null(self, name: str) -> bool:
        """Whether the field is there and null: a few fields mean by it something else than by their absence."""
        return name in self._values and self._values[name] is None

    def _get(self, name: str, default: Any) -> Any:
        value = self._values.get(name)
        value = default if value is None else value
        if value is None:
            raise ModelError(f"{self.prefix}{name} is missing")
        return value

    def _refuse(self, name: str, value: Any, wanted: str) -> ModelError:
        return ModelError(f"{self.prefix}{name} is {value!r:.60}, not {wanted}")

    def integer(self, name: str, at_most: int, at_least: int = 1, default: int | None = None) -> int:
        value = self._get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not at_least <= value <= at_most:
            raise self._refuse(name, value, f"a whole number from {at_least} to {at_most}")
        return value

    def number(self, name: str, above: float = -math.inf, default: float | None = None) -> float:
        value = self._get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._refuse(name, value, "a number")
        if not above < value < _LARGEST:  # false for NaN too
            raise self._refuse(name, value, f"a finite number above {above}")
        return float(value)

    def numbers(self, name: str, length: int, above: float = -math.inf) -> tuple[float, ...]:
        value = self._get(name, None)
        if not isinstance(value, list | tuple) or len(value) != length:
            raise self._refuse(name, value, f"a list of {length} numbers")
        items = Fields({str(index): item for index, item in enumerate(value)}, f"{self.prefix}{name}.")
        return tuple(items.number(str(index), above) for index in range(length))

    def flag(self, name: str, default: bool = False) -> bool:
        value = self._get(name, default)
        if not isinstance(value, bool):
            raise self._refuse(name, value, "true or false")
        return value

    def choice(self, name: str, choices: tuple[str, ...], default: str | None = None) -> str:
        value = self._get(name, default)
        if not isinstance(value, str) or value not in choices:
            raise self._refuse(name, value, f"one of {', '.join(choices)}")
        return value

    def choices(self, name: str, choices: tuple[str, ...], length: int) -> tuple[str, ...]:
        value = self._get(name, None)
        if not isinstance(value, list | tuple) or len(value) != length:
            raise self._refuse(name, value, f"a list of {length} words")
        items = Fields({str(index): item for index, item in enumerate(value)}, f"{self.prefix}{name}.")
        return tuple(items.choice(str(index), choices) for index in range(length))

    def section(self, name: str) -> "Fields":
        """The object under `name`, empty where it is missing."""
        value = self._get(name, {})
        if not isinstance(value, Mapping):
            raise self._refuse(name, value, "an object")
        return Fields(value, f"{self.prefix}{name}.")

    def words(self, name: str) -> dict[str, str]:
        """The object under `name`, whose values must all be strings."""
        value = self._get(name, None)
        if not isinstance(value, dict) or not all(isinstance(word, str) for word in value.values()):
            raise self._refuse(name, value, "an object of strings")
        return value
