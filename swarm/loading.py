"""Large modules, loaded so that an interrupt (Ctrl-C) harms nothing.

An interrupt amid the import of torch or numpy leaves half of it behind, and neither can be imported twice: the process
could never use it again. So it is a thread of its own that imports, which no interrupt reaches; whoever waits for it is
interrupted, and what is loaded goes on being loaded for the next one who asks.
"""

import sys
import threading
from importlib import import_module
from types import ModuleType

LOOK_S = 0.1  # between two looks for an interrupt that wakes nobody who waits


def load(name: str) -> ModuleType:
    """The module of this name. Raises what importing it raises."""
    module = sys.modules.get(name)
    if module is None or _is_being_loaded(module):
        _load_aside(name)
    return import_module(name)


def _is_being_loaded(module: ModuleType) -> bool:
    return bool(getattr(module.__spec__, "_initializing", False))


def _load_aside(name: str) -> None:
    """Where this thread has modules half loaded itself, the import system sees to it that nobody waits in a circle."""
    failure: list[BaseException] = []

    def work() -> None:
        try:
            import_module(name)
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=work, name=f"import of {name}")
    try:
        thread.start()
    except RuntimeError:  # this machine has no thread left
        return
    while thread.is_alive():
        thread.join(LOOK_S)
    if failure:
        raise failure[0]
