"""Opening a ledger, whichever kind it is, from the one string that says where it is."""

import os
import re
from importlib import import_module
from pathlib import Path

from swarm.errors import InvalidRequest
from swarm.market.ledger.ledger import Ledger
from swarm.market.ledger.remote import RemoteLedger
from swarm.market.ledger.sqlite import SqliteLedger
from swarm.market.service.transport import LedgerAddress
from swarm.program import command
from swarm.storage.files import expanded
from swarm.wire.identity import Identity

FILE_NAME = "ledger.db"
_EVM = "evm:"
_HOST_AND_PORT = re.compile(r"[^/]+:[^/]*(/|$)")


def open_ledger(where: str, identity: Identity) -> Ledger:
    """The ledger at `where`, in the name of `identity`.

    where: a file, or a folder (which has it in FILE_NAME): the embedded ledger, made if there is none; or
    HOST:PORT/FINGERPRINT, the service of one (`swarm ledger serve`); or evm:FILE.json, a contract on a chain. Raises
    InvalidRequest, or SwarmError if it cannot be opened.
    """
    if address := LedgerAddress.parse(where):
        return RemoteLedger(address, identity)
    if where.startswith(_EVM):
        return _open_evm(expanded(where.removeprefix(_EVM)), identity)
    _check_path(where)
    return SqliteLedger(ledger_file(where), identity)


def _check_path(where: str) -> None:
    """Raises InvalidRequest for what was to be a service's address: a folder of that name would be made."""
    if "://" in where or (_HOST_AND_PORT.match(where) and not expanded(where).exists()):
        raise InvalidRequest(
            f"{where!r:.80} is no ledger's address: write HOST:PORT/FINGERPRINT, as `{command('ledger', 'serve')}` "
            "prints it, or a folder (a new one with a colon in its name: ./NAME)"
        )


def is_path(where: str) -> bool:
    """Whether it is the embedded ledger of a folder or file."""
    return not where.startswith(_EVM) and LedgerAddress.parse(where) is None


def ledger_file(path: str | os.PathLike[str]) -> Path:
    """The file of the embedded ledger in a folder, or in the file itself: what has no suffix and is no file yet, is a
    folder."""
    where = expanded(path)
    is_folder = where.is_dir() or (not where.suffix and not where.is_file())
    return where / FILE_NAME if is_folder else where


def _open_evm(file: Path, identity: Identity) -> Ledger:
    try:
        # Not imported above: what it needs is an extra.
        module = import_module("swarm.market.evm.opening")
    except ModuleNotFoundError as error:
        raise InvalidRequest(f"a ledger on a chain needs {error.name}: pip install 'swarm-inference[evm]'") from error
    ledger: Ledger = module.open_evm_ledger(file, identity)
    return ledger
