"""What `inspect.signature`, help() and completion show of functions whose options are a TypedDict."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, get_type_hints

F = TypeVar("F", bound=Callable[..., Any])


def keywords(*kinds: type, defaults: Mapping[str, object]) -> Callable[[F], F]:
    """Let the signature of a function with **options name them one by one. kinds: the TypedDicts that its annotation
    stands for; type checkers read that. defaults: of those that have one other than None."""

    def show(function: F) -> F:
        signature = inspect.signature(function)
        own = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
        hints = {name: hint for kind in kinds for name, hint in get_type_hints(kind).items()}
        more = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=defaults.get(name), annotation=hint)
            for name, hint in hints.items()
        ]
        function.__signature__ = signature.replace(parameters=[*own, *more])  # type: ignore[attr-defined]
        return function

    return show
