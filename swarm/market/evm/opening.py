"""Opening the ledger that a configuration file names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from web3 import HTTPProvider, Web3

from swarm.errors import UnusableFile
from swarm.market.evm.chain import GWEI, Terms
from swarm.market.evm.evm_ledger import EvmLedger
from swarm.market.evm.logs import SPAN
from swarm.market.ledger.ids import parse_address
from swarm.storage.files import parse_json, read_regular
from swarm.wire.identity import Identity

_ANSWER_S = 30.0  # that a node may take
_KEYS: Mapping[str, type | tuple[type, ...]] = {
    "rpc": str,
    "contract": str,
    "confirmations": int,
    "gas": (int, float),
    "span": int,
}


def open_evm_ledger(config_file: Path, identity: Identity) -> EvmLedger:
    """The ledger in a JSON file, in the name of `identity`, whose key signs transactions.

    {"rpc": "https://...", "contract": "0x..."}, and if one wants: "confirmations", the blocks after a transaction's own
    before it counts (0); "gas", the most that is paid per unit of gas, in gwei (whatever the chain asks for); "span",
    the blocks that the node answers for at once when it is asked for logs (10,000). Raises UnusableFile if the file
    says something else, PeerUnreachable if the node does not answer.
    """
    config = _read(config_file)
    web3 = Web3(HTTPProvider(config["rpc"], request_kwargs={"timeout": _ANSWER_S}))
    gas = config.get("gas")
    terms = Terms(config.get("confirmations", 0), None if gas is None else int(gas * GWEI))
    return EvmLedger(web3, parse_address(config["contract"]), identity, terms, config.get("span", SPAN))


def _read(file: Path) -> dict[str, Any]:
    example = 'write {"rpc": "https://...", "contract": "0x..."}'
    try:
        config = parse_json(read_regular(file))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UnusableFile(f"{file} does not say which contract is the ledger ({reason}); {example}") from error
    if not isinstance(config, dict) or not {"rpc", "contract"} <= config.keys():
        raise UnusableFile(f"{file} does not say which contract is the ledger; {example}")
    for name, value in config.items():
        if name not in _KEYS:
            raise UnusableFile(f"{file}: {name!r:.40} is not known; known are {', '.join(_KEYS)}")
        is_negative = isinstance(value, int | float) and value < 0
        if not isinstance(value, _KEYS[name]) or isinstance(value, bool) or is_negative:
            raise UnusableFile(f"{file}: {name} cannot be {value!r:.60}")
    return config
