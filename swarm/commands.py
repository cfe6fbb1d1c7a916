"""Commands that others are told to type: as they work when they are pasted on another machine. Imports nothing heavy.

What goes without saying is left out: the demo model, a swarm on the same machine, the usual format. What another
machine does not have is never named: a folder of this one, a ledger that only answers here, a file of a secret.
"""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from swarm.program import command
from swarm.storage.files import expanded
from swarm.wire.dtypes import format_options, usual_dtype
from swarm.wire.hosts import host_in, is_loopback

FILE = "FILE"  # in the place of one that whoever types it has elsewhere
EVERYWHERE = "0.0.0.0"  # where a server listens that others are to reach


@dataclass(frozen=True)
class Invitation:
    """How peers join one swarm. dtype: None: the usual one of `quant`."""

    model: str = "demo"
    quant: str = "none"
    dtype: str | None = None
    revision: str | None = None  # of the model, where its contributors name one
    peers: Sequence[str] | None = None  # members; None: those that are found on the same machine
    is_private: bool = False
    ledger: str | None = None
    from_afar: bool = False  # its members are reached from other machines

    def serve(self, blocks: tuple[int, int] | None = None) -> str:
        """With which a peer joins. blocks: None: it takes those that help most."""
        served = ["--blocks", f"{blocks[0]}:{blocks[1]}"] if blocks else []
        served += format_options(self.quant, self.dtype or usual_dtype(self.quant))
        host = ["--host", EVERYWHERE] if self.from_afar else []
        return command("server", *self._model, *served, *host, *self._swarm)

    def generate(self, prompt: str) -> str:
        """With which a client uses the swarm. prompt: without quotation marks."""
        options = shlex.join([*self._model, *self._swarm])
        return f'{command("generate")} "{prompt}" {options}'.rstrip()  # in quotation marks that all shells take

    @property
    def _model(self) -> list[str]:
        words = ["--model", self.model] if self.model != "demo" else []
        return [*words, "--revision", self.revision] if self.revision else words

    @property
    def _swarm(self) -> list[str]:
        words = ["--peers", *self.peers] if self.peers else []
        words += ["--secret-file", FILE] if self.is_private else []
        return words + (["--ledger", self.ledger] if self.ledger and is_shared_ledger(self.ledger) else [])


@dataclass(frozen=True)
class Membership:
    """What a process knows of the swarm that it is in, from which follows how others join. model: a name or a folder,
    as this process was given it. given: addresses that it was given, if others on this machine do not find them by
    themselves. members: through which it joined."""

    model: str
    given: Sequence[str] | None = None
    members: Sequence[str] = ()
    is_private: bool = False
    revision: str | None = None

    def invitation(self, hosts: Iterable[str], quant: str, dtype: str | None) -> Invitation:
        """hosts: of its peers, which tell whether others join from this machine or from elsewhere."""
        from_afar = not all(map(is_loopback, hosts))
        reached = [one for one in self.members if not is_loopback(host_in(one))] if from_afar else self.given
        return Invitation(
            pasted_model(self.model) if from_afar else self.model,
            quant,
            dtype,
            self.revision,
            list(reached or self.members)[:1] if from_afar else reached,
            is_private=self.is_private,
            from_afar=from_afar,
        )


def is_shared_ledger(where: str) -> bool:
    """Whether other machines reach the ledger there: a service, HOST:PORT/FINGERPRINT, that is not on loopback. Folders
    and files are this machine's, also those that describe a chain."""
    address, slash, _ = where.rpartition("/")
    host, colon, port = address.rpartition(":")
    is_service = bool(slash and colon) and port.isdecimal() and "/" not in host
    return is_service and not is_loopback(host.strip("[]"))


def pasted_model(model: str) -> str:
    """`model`, as another machine may have it: without the folders of this one."""
    path = expanded(model)
    return path.resolve().name if path.exists() and model != "demo" else model
