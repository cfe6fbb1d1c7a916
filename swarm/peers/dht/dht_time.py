"""hivemind's idea of the time, which it has from one function that its modules import by name."""

import sys
from collections.abc import Callable, Iterator
from types import ModuleType

import hivemind.dht.node
import hivemind.utils.timed_storage  # noqa: F401  # so that all that the DHT needs is loaded when `set_dht_time` looks

_NAME = "get_dht_time"


def set_dht_time(now_s: Callable[[], float]) -> None:
    """Whatever hivemind stores, drops, answers and refuses by time goes by `now_s` from now on, Unix time in seconds.

    Modules of it that are loaded later take the name over from one that has it.
    """
    for module in holders():
        setattr(module, _NAME, now_s)


def holders() -> Iterator[ModuleType]:
    """The modules of hivemind that are loaded and have the function."""
    for name, module in sys.modules.copy().items():  # other threads may be importing
        if name.partition(".")[0] == "hivemind" and _NAME in vars(module):
            yield module
