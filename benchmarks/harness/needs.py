"""The first import of every benchmark: what is missing is one line that says how to get it, and --help works without.

Imports nothing that may be missing.
"""

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, TracebackType
from unittest.mock import MagicMock

TARGET = "make .venv/.ready-dev"
_HELP = ("-h", "--help")
_OURS = ("swarm", "swarm_kernels", "harness")
# What `make demo` does not install, and benchmarks import where they begin.
WANTED = (
    "matplotlib", "scipy", "web3", "eth", "eth_abi", "eth_account", "eth_keys", "eth_tester", "eth_utils", "vyper",
    "hypothesis", "pytest",
)  # fmt: skip


def advice(missing: str, script: str) -> str:
    return (
        f"error: {missing} is not installed: run `{TARGET}` once, and then this as `.venv/bin/python {script}`, or in "
        "the activated environment"
    )


class _StandIn(ModuleType):
    """Of a module that is missing. For --help it is enough that there is something by its name."""

    __path__: Sequence[str] = ()

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock()


class _StandIns(MetaPathFinder, Loader):
    """Asked last: for what nobody else finds."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        first = name.partition(".")[0]
        is_missing = first not in _OURS and (first not in sys.modules or isinstance(sys.modules[first], _StandIn))
        return ModuleSpec(name, self, is_package=True) if is_missing and first in WANTED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Instead of a traceback, where a package is missing."""
    name = (error.name or "") if isinstance(error, ModuleNotFoundError) else ""
    name, _, inside = name.partition(".")
    if not name or (name in _OURS and inside):  # a fault of ours
        sys.__excepthook__(kind, error, trace)
        return
    if _asks_for_help():
        print((getattr(sys.modules["__main__"], "__doc__", None) or "").strip(), end="\n\n")
    print(advice(name, sys.argv[0]), file=sys.stderr)


def _asks_for_help() -> bool:
    return any(word in _HELP for word in sys.argv[1:])


def _is_benchmark() -> bool:
    """Whether this process is one: tests use what the benchmarks have in common, too."""
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    return bool(main) and Path(__file__).resolve().parents[1] in Path(main).resolve().parents


if _is_benchmark():
    sys.excepthook = _tell
    if _asks_for_help():
        sys.meta_path.append(_StandIns())
