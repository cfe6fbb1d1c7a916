"""The ordinary server with parts that cheat: what tests of verification are run against.

`CHEAT_FILE` names a file that holds the name of a cheat, one of CHEATS; while there is none, the server is honest. So
one process can cheat in one way after the other. Nothing of this can be switched on in the server itself.
"""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch

import swarm.model.blocks as blocks_module
from swarm.cli.server import main
from swarm.errors import SwarmError
from swarm.model.blocks import BlockRange
from swarm.model.checkpoint import open_checkpoint
from swarm.model.kv_cache import PagePool
from swarm.server.config import Parts
from swarm.server.scheduler.runner import Runner
from swarm.server.session.session import Session
from swarm.server.session.steps import Slice
from swarm.verify.receipts.writing import ReceiptWriter
from swarm.wire import messages_pb2 as pb
from swarm.wire.codec import Rows, to_rows
from swarm.wire.formats.receipts import NOTHING, Receipt, SignedReceipt, Terms
from swarm.wire.identity import Identity

CHEATS = (
    # In what is computed: all of these sign honestly for their wrong results.
    "int4-as-bf16", "int8-as-bf16", "skip-block", "short-window", "other-model", "echo", "replay",
    "int4-unless-audited", "lie-as-auditor",
    # In what is sent, signed and handed out.
    "swap-digest", "bad-digest", "first-token", "swap-journal", "withhold-receipts", "withhold-journal",
    "withhold-sketches", "hang-up", "forge", "late-and-swapped", "odd-chunks", "equivocate", "wrong-inputs",
    "vast-receipt", "many-faults",
)  # fmt: skip
WINDOW = 4  # tokens that "short-window" looks back


def cheat() -> str:
    """The one that is in force."""
    try:
        return Path(os.environ["CHEAT_FILE"]).read_text()
    except (KeyError, FileNotFoundError):
        return ""


def spoiled(rows: Rows) -> Rows:
    """Other rows of the same shape."""
    return to_rows(-rows.tensor(), rows.tensor().dtype)


def looks_like_an_audit(session: Session, num_blocks: int) -> bool:
    """A chain of one hop, or the last one's, that does not end where the model does."""
    return session.next_hop is None and session.reservation.stop != num_blocks


# --- what is computed ------------------------------------------------------------------------------------------------


class CheatingRunner(Runner):
    """Computes with other blocks than those announced."""

    def __init__(self, blocks: BlockRange, pool: PagePool):
        super().__init__(blocks, pool)
        self._honest, self._pages = blocks, pool
        other_blocks(cheat(), blocks.start, blocks.stop)  # now, if it is known by now: loading takes a while
        self._first: dict[int, torch.Tensor] = {}  # outputs by position, of whatever came first

    def run(self, slices: Sequence[Slice]) -> tuple[list[torch.Tensor], float]:
        name, audited = cheat(), looks_like_an_audit(slices[0].session, self._honest.config.num_blocks)
        if name == "int4-unless-audited":
            name = "" if audited else "int4-as-bf16"
        other = other_blocks(name, self._honest.start, self._honest.stop)
        outputs, seconds = Runner(other, self._pages).run(slices) if other else super().run(slices)
        if name == "echo":
            outputs = [item.work.hidden[item.first : item.first + item.count] for item in slices]
        elif name == "replay":
            outputs = [self._replayed(item, output) for item, output in zip(slices, outputs, strict=True)]
        elif name == "lie-as-auditor" and audited:
            outputs = [-output for output in outputs]
        return outputs, seconds

    def _replayed(self, item: Slice, output: torch.Tensor) -> torch.Tensor:
        rows = [self._first.setdefault(item.position + index, row) for index, row in enumerate(output)]
        return torch.stack(rows)


@cache
def other_blocks(name: str, start: int, stop: int) -> object | None:
    """What `name` computes with instead of blocks start to stop - 1 in bfloat16."""
    load = cache(lambda *span, **options: BlockRange.load(open_checkpoint("demo"), *span, torch.bfloat16, **options))
    if name in ("int4-as-bf16", "int8-as-bf16"):
        return load(start, stop, quant=name[:4], threads=1)
    if name == "skip-block":
        return Shifted(load(start, stop, threads=1), 0, stop - 1)
    if name == "other-model":
        return Shifted(load(start - 1, stop - 1, threads=1), -1, stop)
    if name == "short-window":
        honest = blocks_module.block_spec
        blocks_module.block_spec = lambda config, index: replace(honest(config, index), window=WINDOW)
        try:
            return load(start, stop, threads=1)
        finally:
            blocks_module.block_spec = honest
    return None


class Shifted:
    """A range of blocks that takes itself for its neighbours, or stops early."""

    def __init__(self, blocks: BlockRange, by: int, stop: int):
        self._blocks, self._by, self._stop = blocks, by, stop

    def __getattr__(self, name: str) -> object:
        return getattr(self._blocks, name)

    def forward(
        self, hidden: torch.Tensor, batch: object, cache: Sequence[object], start: int, stop: int
    ) -> torch.Tensor:
        return self._blocks.forward(hidden, batch, cache, start + self._by, min(stop, self._stop) + self._by)


# --- what is signed --------------------------------------------------------------------------------------------------


class CheatingWriter(ReceiptWriter):
    """Signs something else than it should."""

    def __init__(self, identity: Identity, terms: Terms, on_signed: Callable[[SignedReceipt], None]):
        super().__init__(identity, terms, on_signed)
        self._key = identity

    def record(self, position: int, inputs: Rows, outputs: Rows, prompt: bool = False) -> None:
        if cheat() == "wrong-inputs":
            inputs = spoiled(inputs)
        super().record(position, inputs, outputs, prompt)
        if cheat() == "odd-chunks":
            self.seal()

    def sign(self, receipt: Receipt) -> SignedReceipt:
        if cheat() == "vast-receipt":
            receipt = replace(receipt, count=2**32 - 2 - receipt.position)
        if cheat() != "forge":
            return super().sign(receipt)
        receipt = replace(receipt, terms=replace(receipt.terms, peer=Identity().address))  # in somebody else's name
        return SignedReceipt(receipt, self._key.sign_hash(receipt.hash), self._key.peer_id)

    def upstream(self, before: Sequence[bytes], count: int, inputs_root: bytes) -> bytes:
        if cheat() != "wrong-inputs":
            return super().upstream(before, count, inputs_root)
        return SignedReceipt.decode(before[-1]).receipt.hash if before else NOTHING

    def take(self) -> list[bytes]:
        taken = super().take()
        return [] if cheat() in ("withhold-receipts", "late-and-swapped") else taken

    def since(self, index: int) -> tuple[list[bytes], list[bytes]]:
        receipts, sketches = super().since(index if cheat() != "equivocate" else 0)
        if cheat() == "withhold-receipts":
            return [], []
        if cheat() == "equivocate":
            return [self._other(one, 1) if number < index else one for number, one in enumerate(receipts)], sketches
        if cheat() == "many-faults":
            return [self._other(receipts[0], number) for number in range(1000)], sketches
        return receipts, [] if cheat() == "withhold-sketches" else sketches

    def _other(self, data: bytes, number: int) -> bytes:
        """Another receipt for the same work."""
        receipt = SignedReceipt.decode(data).receipt
        return replace(receipt, outputs=number.to_bytes(32)).sign(self._key).encode()


# --- what is sent and handed out -------------------------------------------------------------------------------------


class CheatingSession(Session):
    """Sends something else than what it signed for, hands out something else than it sent, or leaves when it is
    asked."""

    def send_on(self, step: pb.Step) -> bool:
        swaps = {"swap-digest", "late-and-swapped"}
        if cheat() == "first-token" and step.want == pb.LAST and step.position == 0:
            swaps.add("first-token")
        if step.HasField("hidden") and cheat() in swaps:
            rows = Rows.of(step.hidden.dtype, step.hidden.shape[1], step.hidden.data)
            step.hidden.CopyFrom(spoiled(rows).message())
        elif step.HasField("hidden") and cheat() == "bad-digest":
            step.hidden.digest = bytes(32)
        return super().send_on(step)

    def rows(self, position: int, count: int) -> Rows | None:
        rows = super().rows(position, count)
        if cheat() == "withhold-journal":
            return None
        return spoiled(rows) if rows and cheat() == "swap-journal" else rows

    async def answer(self, message: pb.ToServer, load: Callable[[], pb.Load]) -> None:
        if cheat() == "hang-up" and message.WhichOneof("kind") in ("seal", "fetch"):
            raise SwarmError("good bye")
        await super().answer(message, load)


if __name__ == "__main__":
    sys.exit(main(parts=Parts(CheatingRunner, CheatingSession, CheatingWriter)))
