"""The compiled contract, as it is committed: only who changes `ledger.vy` needs its compiler."""

import hashlib
import json
from pathlib import Path

SOURCE = Path(__file__).with_name("ledger.vy")
ARTIFACT = Path(__file__).with_name("contract.json")


def source_digest() -> str:
    """SHA-256 of the contract's source, hexadecimal."""
    return hashlib.sha256(SOURCE.read_bytes()).hexdigest()


def load_contract() -> dict[str, object]:
    """What `python -m swarm.market.evm.compile` wrote: abi, bytecode (0x...), compiler, source (its digest)."""
    artifact: dict[str, object] = json.loads(ARTIFACT.read_text())
    return artifact
