"""What is kept under SWARM_HOME, and how processes on one machine find each other there without being told an address.

client.key            this user's key as a client: it signs accusations, and pays
identities/N.key      keys of servers, each with a lock that tells whether a process uses it
nodes/PID.json        addresses of the swarm nodes that run on this machine
receipts/             receipts: this user's as a client (client.db), and those that a server signed (PEER_ID.db)
payments/             hop invoices and vouchers, likewise
channels/             locks that keep two clients of this user off the same payment channel
commitments/          what was committed to in a ledger and is not revealed yet, see swarm.market.rewards.committing
ledger/               this machine's own ledger, see swarm.market.ledger.opening
acquaintances/        nodes of the swarm that each process has met, see swarm.peers.dht.acquaintances
standing.sqlite       what clients know of peers, see swarm.verify.reputation.store
evidence/             evidence that clients hold against peers, see swarm.verify.fraud.evidence
shelf/                evidence that servers keep for others: nameless files, gone with them
thresholds/           calibrations of audits, see swarm.verify.audit.calibration
digests/              digests of weights, see swarm.model.digest_cache
triton_tiles.json     tile sizes that suit this machine's GPU, see swarm_kernels.triton.tiles

What an older version has written is read as it is: no file here has moved, and no format has changed but by what each
module can tell apart.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import psutil

from swarm.errors import PeerUnreachable, SwarmError
from swarm.wire.identity import Identity
from swarm.wire.secret import Secret, refused

MAX_IDENTITIES = 64


def swarm_home() -> Path:
    """SWARM_HOME, by default ~/.cache/swarm."""
    return Path(os.environ.get("SWARM_HOME") or Path.home() / ".cache" / "swarm")


def receipts_file(server: str = "") -> Path:
    """server: peer id of the one that signed them; by default, this user's as a client."""
    return swarm_home() / "receipts" / f"{server or 'client'}.db"


def payments_file(server: str = "") -> Path:
    """Like `receipts_file`."""
    return swarm_home() / "payments" / f"{server or 'client'}.db"


def channels_folder() -> Path:
    return swarm_home() / "channels"


def client_identity() -> Identity:
    """This user's as a client; made when it is first wanted."""
    return Identity.load_or_create(swarm_home() / "client.key")


def commitments_folder() -> Path:
    return swarm_home() / "commitments"


def evidence_folder() -> Path:
    return swarm_home() / "evidence"


def stored_evidence_folder() -> Path:
    return swarm_home() / "shelf"


def ledger_folder() -> Path:
    return swarm_home() / "ledger"


def thresholds_folder() -> Path:
    return swarm_home() / "thresholds"


def digests_folder() -> Path:
    return swarm_home() / "digests"


def acquaintances_file(server: str = "", secret: Secret | None = None) -> Path:
    """server: peer id of the one that met them; by default, this user's clients. secret: of a private swarm, whose
    nodes are not mixed up with others."""
    name = "-".join(filter(None, (server or "client", _swarm_name(secret))))
    return swarm_home() / "acquaintances" / f"{name}.json"


def standing_file() -> Path:
    return swarm_home() / "standing.sqlite"


def peers_from_environment() -> list[str]:
    """The addresses in SWARM_PEERS, separated by spaces or commas."""
    return os.environ.get("SWARM_PEERS", "").replace(",", " ").split()


def known_addresses(secret: Secret | None = None) -> list[str]:
    """Addresses of the swarm nodes that run on this machine under the same SWARM_HOME and have the same secret."""
    wanted = _swarm_name(secret)
    return [address for swarm, addresses in _running_nodes() for address in addresses if swarm == wanted]


def _running_nodes() -> list[tuple[str, list[str]]]:
    """The swarm and the addresses of each node on this machine."""
    nodes = []
    for file in sorted((swarm_home() / "nodes").glob("*.json")):
        try:
            entry = json.loads(file.read_text())
            alive = psutil.Process(entry["pid"]).create_time() == entry["started"]
        except (OSError, ValueError, KeyError, TypeError, psutil.Error):
            alive = False
        if alive:
            nodes.append((entry.get("swarm", ""), entry["addresses"]))
        else:
            file.unlink(missing_ok=True)  # left behind by a process that was killed
    return nodes


def _swarm_name(secret: Secret | None) -> str:
    return secret.name if secret else ""


def find_swarm(peers: Sequence[str] | None, secret: Secret | None = None) -> list[str]:
    """Addresses of swarm members: `peers`, or SWARM_PEERS, or a swarm on this machine.

    Raises PeerUnreachable if there is none, PrivateSwarm if there are only those of other secrets.
    """
    addresses = list(peers or peers_from_environment() or known_addresses(secret))
    if addresses:
        return addresses
    if any(swarm for swarm, _ in _running_nodes()):
        raise refused(secret)
    raise PeerUnreachable(
        "no swarm found on this machine; start one with `python -m swarm.server`, or give the address of a peer "
        "(--peers, or peers=[...])"
    )


@contextmanager
def announced(addresses: Sequence[str], secret: Secret | None = None) -> Iterator[None]:
    """Let other processes on this machine find `addresses` while the context lasts and this process lives."""
    pid = os.getpid()
    file = swarm_home() / "nodes" / f"{pid}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    started = psutil.Process(pid).create_time()
    entry = {"pid": pid, "started": started, "addresses": list(addresses), "swarm": _swarm_name(secret)}
    scratch = file.with_suffix(".tmp")
    scratch.write_text(json.dumps(entry))
    scratch.rename(file)  # readers see the whole file or none
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


@contextmanager
def claimed_identity(path: Path | None = None) -> Iterator[tuple[Identity, Path]]:
    """This process's identity and its file: `path`, or the first under SWARM_HOME that no other process uses.

    A restarted server so keeps its peer id, and two on one machine have different ones. Raises SwarmError if `path`
    is in use by a running process.
    """
    slots = [path] if path else [swarm_home() / "identities" / f"{slot}.key" for slot in range(MAX_IDENTITIES)]
    for slot in slots:
        slot.parent.mkdir(parents=True, exist_ok=True)
        with open(slot.with_suffix(".lock"), "w") as lock:
            if _lock(lock):
                try:
                    yield Identity.load_or_create(slot), slot
                finally:  # in so many words: a forked child may still have the file open
                    fcntl.flock(lock, fcntl.LOCK_UN)
                return
    raise SwarmError(f"identity {slots[0]} is in use by another process; choose another with --identity")


def _lock(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
