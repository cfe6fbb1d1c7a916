"""What a fork must not break: a child has a copy of all that its parent holds, but none of the threads behind it.

Nothing that the child does to such a copy may reach the parent, and nothing in the child may wait for a thread that is
not there. What belongs to one process says so here.
"""

import ctypes
import os
import weakref
from contextlib import suppress

from swarm.errors import SwarmError

_descriptors: set[int] = set()
_frozen: "weakref.WeakSet[object]" = weakref.WeakSet()


class Owner:
    """The process in which something was made."""

    def __init__(self) -> None:
        self._pid = os.getpid()

    @property
    def is_here(self) -> bool:
        """Whether that is this process, and not one that it was forked from."""
        return self._pid == os.getpid()

    def check(self, name: str) -> None:
        """Raises SwarmError in a forked child. name: of what was made, as in "client"."""
        if not self.is_here:
            raise SwarmError(
                f"this {name} belongs to the process that this one was forked from, and works there only; "
                f"make another {name} here"
            )


class Lifeline:
    """A pipe at whose other end another process waits: it ends when this process does, however that comes about.

    Nobody else holds this end: not even a forked child, by which the other process would outlive this one.
    """

    def __init__(self) -> None:
        self.theirs, self._ours = os.pipe()  # the end to wait at, to be given to the other process
        self._owner, self._is_cut = Owner(), False
        keep_here(self._ours)

    def give(self) -> None:
        """The other process has its end."""
        os.close(self.theirs)

    def cut(self) -> None:
        """The other process is to end. May be called again."""
        if self._is_cut or not self._owner.is_here:  # its number may be that of something else by now
            return
        self._is_cut = True
        let_go(self._ours)
        os.close(self._ours)


def keep_here(descriptor: int) -> None:
    """A forked child has it closed: what hangs on it, such as a lock, is this process's alone."""
    _descriptors.add(descriptor)


def let_go(descriptor: int) -> None:
    """To be called before it is closed."""
    _descriptors.discard(descriptor)


def freeze_in_child(thing: object) -> None:
    """A forked child leaves `thing` and all that it refers to as it is, to its end. A finaliser would wait for threads,
    or take the parent's sockets out of the parent's event loop."""
    _frozen.add(thing)


def _in_child() -> None:
    for thing in list(_frozen):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
    _frozen.clear()
    for descriptor in _descriptors:
        with suppress(OSError):  # one of them is not to keep the others open
            os.close(descriptor)
    _descriptors.clear()


os.register_at_fork(after_in_child=_in_child)
