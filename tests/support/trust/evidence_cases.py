"""Work that is evidence, signed, in files."""

from pathlib import Path

import torch

from swarm.verify.audit.case import Case
from swarm.verify.fraud.evidence import Bundle
from swarm.verify.receipts.writing import ReceiptWriter
from swarm.wire import codec
from swarm.wire.formats.receipts import NOTHING, SignedReceipt, Terms
from swarm.wire.identity import Identity
from swarm.wire.session_id import new_session_id

TOKENS = 128
BLOCKS = 0, 2

CHEAT, HONEST, ACCUSER = Identity(), Identity(), Identity()


def sign(peer: Identity, x: torch.Tensor, y: torch.Tensor, weights: bytes, numerics_id: str = "") -> Bundle:
    """Evidence against a peer that gave y for x, signing as servers do."""
    terms = Terms(new_session_id(), 1, peer.address, *BLOCKS, weights, "none/bfloat16", numerics_id,
                  codec.wire_dtype(torch.bfloat16), NOTHING)  # fmt: skip
    signed: list[SignedReceipt] = []
    writer = ReceiptWriter(peer, terms, signed.append)
    rows = codec.to_rows(x, torch.bfloat16), codec.to_rows(y, torch.bfloat16)
    for start in range(0, len(x), 64):
        part = slice(start, start + 64)
        writer.record(start, rows[0][part], rows[1][part])
        writer.seal()
    return Bundle(Case(tuple(signed), 0, *rows), "demo", "a revision")


def write(path: Path, bundle: Bundle, accuser: Identity = ACCUSER) -> str:
    path.write_bytes(bundle.encode(accuser))
    return str(path)
