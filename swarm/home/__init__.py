"""What is kept under SWARM_HOME, and how processes on one machine find each other there without being told an address.

client.key            this user's key as a client: it signs accusations, and pays
identities/N.key      keys of servers, each with a lock that tells whether a process uses it
*.key.moved           marks of keys that were moved to another machine, see swarm.home.moving; .told: the user knows
nodes/*.json          addresses of the swarm nodes that run on this machine, see swarm.home.nodes
places/PEER_ID.json   ports where a server was, and will be again, see swarm.home.places
acquaintances/        nodes of the swarm that each process has met, see swarm.peers.dht.acquaintances
receipts/             receipts: this user's as a client (client.db), and those that a server signed (PEER_ID.db)
payments/             hop invoices and vouchers, likewise
channels/             locks that keep two clients of this user off the same payment channel
commitments/          what was committed to in a ledger and is not revealed yet, see swarm.market.rewards.committing
ledger/               this machine's own ledger, see swarm.market.ledger.opening
standing.sqlite       what clients know of peers, see swarm.verify.reputation.store
evidence/             evidence that clients hold against peers, see swarm.verify.fraud.evidence
shelf/                evidence that servers keep for others: nameless files, gone with them
thresholds/           calibrations of audits, see swarm.verify.audit.calibrating.calibration
digests/              digests of weights, see swarm.model.digest_cache
triton_tiles.json     tile sizes that suit this machine's GPU, see swarm_kernels.triton.tiles

What an older version has written is read as it is: no file here has moved, and no format has changed but by what each
module can tell apart.
"""

from pathlib import Path

from swarm.home.folder import has_home, require_home, swarm_home
from swarm.home.identities import claimed_identity, client_identity, passing_identity
from swarm.home.nodes import announced, find_ledger, find_swarm, known_addresses, peers_from_environment
from swarm.wire.secret import Secret

__all__ = [
    "acquaintances_file",
    "announced",
    "channels_folder",
    "claimed_identity",
    "client_identity",
    "commitments_folder",
    "digests_folder",
    "evidence_folder",
    "find_ledger",
    "find_swarm",
    "has_home",
    "known_addresses",
    "ledger_folder",
    "passing_identity",
    "payments_file",
    "peers_from_environment",
    "receipts_file",
    "require_home",
    "standing_file",
    "stored_evidence_folder",
    "swarm_home",
    "thresholds_folder",
]


def receipts_file(server: str = "") -> Path:
    """server: peer id of the one that signed them; by default, this user's as a client."""
    return swarm_home() / "receipts" / f"{server or 'client'}.db"


def payments_file(server: str = "") -> Path:
    """Like `receipts_file`."""
    return swarm_home() / "payments" / f"{server or 'client'}.db"


def channels_folder() -> Path:
    return swarm_home() / "channels"


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


def standing_file() -> Path:
    return swarm_home() / "standing.sqlite"


def acquaintances_file(server: str = "", secret: Secret | None = None) -> Path:
    """server: peer id of the one that met them; by default, this user's clients. secret: of a private swarm, whose
    nodes are not mixed up with others."""
    name = "-".join(filter(None, (server or "client", secret.name if secret else "")))
    return swarm_home() / "acquaintances" / f"{name}.json"
