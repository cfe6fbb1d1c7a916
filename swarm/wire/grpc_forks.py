"""gRPC after a fork. Its library keeps threads and locks for the whole process, and a forked child has the locks
without the threads: whatever it begins there never ends, and gRPC's own support for forks does not know asyncio.

A child that wants gRPC after its parent used it therefore gets the library a second time, loaded afresh.
"""

import importlib
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from types import ModuleType

import grpc

_CORE = "grpc._cython.cygrpc"
_used_by = 0  # process id; 0: by nobody yet
_former: list[dict[str, ModuleType]] = []  # never to be cleaned up


def use_grpc() -> None:
    """To be called before anything of gRPC is made."""
    global _used_by
    if _used_by not in (0, os.getpid()):
        _load_again()
    _used_by = os.getpid()


def _load_again() -> None:
    """The same file under another name is another library to the system, with nothing in it yet."""
    former = {name: module for name, module in sys.modules.items() if name == "grpc" or name.startswith("grpc.")}
    _former.append(former)
    core = importlib.machinery.PathFinder.find_spec(_CORE, former[_CORE.rpartition(".")[0]].__path__)
    assert core and core.origin
    copy = os.memfd_create("grpc")
    with open(core.origin, "rb") as original, open(copy, "wb", closefd=False) as target:
        target.write(original.read())
    finder = _Finder(f"/proc/self/fd/{copy}")
    for name in former:
        del sys.modules[name]
    sys.meta_path.insert(0, finder)
    try:
        again = importlib.import_module("grpc")
        importlib.import_module("grpc.aio")
    finally:
        sys.meta_path.remove(finder)
        os.close(copy)
    grpc.__dict__.update(again.__dict__)  # for all who have imported it by now
    sys.modules["grpc"] = grpc


class _Finder:
    """Finds the library's core in another file."""

    def __init__(self, file: str):
        self._file = file

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != _CORE:
            return None
        loader = importlib.machinery.ExtensionFileLoader(name, self._file)
        return importlib.util.spec_from_file_location(name, self._file, loader=loader)
