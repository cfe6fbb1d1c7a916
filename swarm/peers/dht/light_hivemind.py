"""hivemind's DHT alone. To import anything of hivemind is to import all of it: torch, scipy, an old pydantic and its
training code, of which a node of the DHT needs nothing, and which take longer than all that `status` does.

So the packages on the way to the DHT are there at first without what their `__init__` would bring. One that is asked
for more than its modules, as by a program that trains with hivemind beside this one, becomes then what it always was.
With a version of hivemind that is laid out otherwise, everything works as well, and starts as slowly as before.
"""

import sys
import threading
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from types import ModuleType

# By package: what the DHT's modules want of it by name, and the modules in which that is.
_PACKAGES: dict[str, dict[str, str]] = {
    "hivemind": {},
    "hivemind.dht": {},
    "hivemind.utils": {
        "MSGPackSerializer": "serializer",
        "SerializerBase": "serializer",
        "get_dht_time": "timed_storage",
        "get_logger": "logging",
    },
}


_completing: set[tuple[str, int]] = set()  # packages, and threads that are at it


class _Package(ModuleType):
    """A package whose `__init__` runs when something is asked for that nothing else brings."""

    def __getattr__(self, name: str) -> object:
        if name in (module_of := _PACKAGES[self.__name__]):
            value = getattr(import_module(f"{self.__name__}.{module_of[name]}"), name)
            setattr(self, name, value)
            return value
        # Python asks for a module that it is about to import, too.
        if (self.__name__, threading.get_ident()) in _completing or find_spec(f"{self.__name__}.{name}"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} yet")
        self._complete()
        return getattr(self, name)

    def _complete(self) -> None:
        """Without a lock of its own, which with those of imports would make a deadlock: to do it twice does no harm."""
        assert self.__spec__ and self.__spec__.loader
        at_it = (self.__name__, threading.get_ident())
        _completing.add(at_it)
        try:
            self.__spec__.loader.exec_module(self)
        finally:
            _completing.discard(at_it)
        self.__class__ = ModuleType  # type: ignore[assignment]  # as any other from now on


def prepare() -> None:
    """To be called before anything of hivemind is imported; afterwards it does nothing."""
    if "hivemind" in sys.modules:
        return
    for name in _PACKAGES:
        if spec := find_spec(name):
            module = module_from_spec(spec)
            module.__class__ = _Package
            sys.modules[name] = module
            parent, _, own = name.rpartition(".")
            if parent:
                setattr(sys.modules[parent], own, module)
