"""Packages of this one whose names are taken for functions: whoever calls one is told what to call."""

import sys
from types import ModuleType

INSTEAD = {
    "generate": "swarm.Client(model).generate(prompt) does that",
    "stream": "swarm.Client(model).stream(prompt) does that",
    "client": "swarm.Client(model) makes one",
    "server": "swarm.LocalSwarm(model) starts some on this machine",
}


def no_function(name: str) -> AttributeError:
    """The error for one of these."""
    return AttributeError(f"module 'swarm' has no function {name!r}; {INSTEAD[name]}")


def explain_calls(package: str) -> None:
    """package: its whole name."""
    sys.modules[package].__class__ = _Package


class _Package(ModuleType):
    def __call__(self, *arguments: object, **options: object) -> None:
        raise no_function(self.__name__.rpartition(".")[2])
