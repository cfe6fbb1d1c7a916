"""Run large language models on a swarm of peers.

import swarm

with swarm.Client("demo") as client:
    print(client.generate("The capital of France is", max_new_tokens=16).text)
"""

import os
import warnings
from difflib import get_close_matches
from typing import TYPE_CHECKING

from swarm.errors import (
    AddressInUse,
    DiskTrouble,
    InvalidRequest,
    LedgerRefusal,
    ModelError,
    NoRoute,
    PaymentRequired,
    PeerBusy,
    PeerUnreachable,
    PrivateSwarm,
    RevisionMismatch,
    SwarmError,
    UnknownOption,
    UnusableFile,
)
from swarm.loading import load
from swarm.packages import INSTEAD, no_function
from swarm.version import __version__ as __version__

if TYPE_CHECKING:
    from swarm.client.client import Client
    from swarm.client.local_swarm import LocalSwarm
    from swarm.generate.options import WithoutEffect
    from swarm.results import Generation, Hop

# Before gRPC is first imported: it is never used across a fork here (child processes are new programs), and would say
# so on standard error whenever one is started.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
# What goes wrong is told by this package: gRPC's own lines are caused by any stranger who connects, without end.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
# Libraries used here import tqdm's bar for notebooks, which complains where ipywidgets are missing; none is shown.
warnings.filterwarnings("ignore", message="IProgress not found")

__all__ = [
    "AddressInUse",
    "Client",
    "DiskTrouble",
    "Generation",
    "Hop",
    "InvalidRequest",
    "LedgerRefusal",
    "LocalSwarm",
    "ModelError",
    "NoRoute",
    "PaymentRequired",
    "PeerBusy",
    "PeerUnreachable",
    "PrivateSwarm",
    "RevisionMismatch",
    "SwarmError",
    "UnknownOption",
    "UnusableFile",
    "WithoutEffect",
]

# The client's side is imported when first used: a server, which also imports this package, must not pay the memory
# of a tokeniser library that it never calls.
_LAZY = {
    "Client": "swarm.client.client",
    "Generation": "swarm.results",
    "Hop": "swarm.results",
    "LocalSwarm": "swarm.client.local_swarm",
    "WithoutEffect": "swarm.generate.options",
}


def __getattr__(name: str) -> object:
    if name in INSTEAD:
        raise no_function(name)
    if name not in _LAZY:
        near = get_close_matches(name, __all__, 1)
        raise AttributeError(f"module 'swarm' has no attribute {name!r}{f'; did you mean {near[0]}?' if near else ''}")
    return getattr(load(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__", "__doc__"])
