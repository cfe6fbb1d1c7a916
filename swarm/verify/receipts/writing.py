"""The server's side of receipts: one hop's work for one session, signed chunk by chunk."""

from collections.abc import Callable, Sequence

from swarm.clock import now_ms
from swarm.errors import InvalidRequest
from swarm.verify.receipts.sketch import sketch, sketch_bytes
from swarm.wire.codec import Rows
from swarm.wire.formats.merkle import merkle_root
from swarm.wire.formats.receipts import NOTHING, Receipt, SignedReceipt, Terms, Tokens, context_after, sketch_hash
from swarm.wire.identity import Identity

MAX_CHUNK = 512  # rows after which a receipt is signed though nobody asked: what is not signed yet is held in memory
_READ_BACK = 4  # of the receipts that came along, those looked at for the previous hop's, which is normally the last


class ReceiptWriter:
    """Everything computed goes through `record`; `seal` signs it."""

    def __init__(self, identity: Identity, terms: Terms, on_signed: Callable[[SignedReceipt], None]):
        self.terms = terms
        self._identity, self._on_signed = identity, on_signed
        self._receipts: list[bytes] = []
        self._sketches: list[bytes] = []  # one for each of these
        self.last = self._context = NOTHING  # hash of the last receipt
        self._position = 0  # of the first row that is not signed
        self._inputs: list[Rows] = []
        self._outputs: list[Rows] = []
        self._is_prompt: list[bool] = []  # of every row that is not signed
        self._billed = Tokens()  # that is signed for
        self._given = 0  # receipts that were sent on

    @property
    def tokens(self) -> Tokens:
        """All that receipts were, or will be, signed for."""
        prefill = sum(self._is_prompt)
        return self._billed + Tokens(prefill, len(self._is_prompt) - prefill)

    def record(self, position: int, inputs: Rows, outputs: Rows, prompt: bool = False) -> None:
        """Rows from `position` on, as they came and as they go. A position that was recorded before is computed again:
        what followed it and is not signed yet is forgotten, as it is in the cache. prompt: part of one, or of a
        replay."""
        kept, unsigned = position - self._position, len(self._is_prompt)
        if 0 < kept < unsigned:
            self._inputs, self._outputs = [Rows.join(self._inputs)[:kept]], [Rows.join(self._outputs)[:kept]]
            del self._is_prompt[kept:]
        elif kept <= 0 or kept > unsigned:
            self._inputs, self._outputs, self._is_prompt, self._position = [], [], [], position
        self._inputs.append(inputs)
        self._outputs.append(outputs)
        self._is_prompt += [prompt] * len(outputs)
        if len(self._is_prompt) >= MAX_CHUNK:
            self.seal()

    def seal(self, before: Sequence[bytes] = ()) -> None:
        """Sign a receipt over what is not signed yet, if there is anything.

        before: receipts of the hops before this one, untrusted. Where the previous hop's is among them and its outputs
        are these inputs, this receipt names it: from then on the two hops cannot disagree about what went between them.
        """
        if not self._outputs:
            return
        inputs, outputs = Rows.join(self._inputs), Rows.join(self._outputs)
        inputs_root, outputs_root = merkle_root(inputs.digests), merkle_root(outputs.digests)
        self._context = context_after(self._context, self._position, len(outputs), inputs_root)
        projected = sketch_bytes(sketch(inputs.tensor(), outputs.tensor(), inputs_root, outputs_root))
        receipt = Receipt(
            terms=self.terms,
            index=len(self._receipts),
            position=self._position,
            count=len(outputs),
            prefill=sum(self._is_prompt),
            inputs=inputs_root,
            context=self._context,
            outputs=outputs_root,
            sketch=sketch_hash(projected),
            upstream=self.upstream(before, len(outputs), inputs_root),
            previous=self.last,
            time_ms=now_ms(),
        )
        signed = self.sign(receipt)
        self._receipts.append(signed.encode())
        self._sketches.append(projected)
        self.last = receipt.hash
        self._billed = self.tokens
        self._position += len(outputs)
        self._inputs, self._outputs, self._is_prompt = [], [], []
        self._on_signed(signed)

    def take(self) -> list[bytes]:
        """Receipts that were not taken yet, to be sent along with the next rows."""
        taken = self._receipts[self._given :]
        self._given = len(self._receipts)
        return taken

    def since(self, index: int) -> tuple[list[bytes], list[bytes]]:
        """All receipts from number `index` on, and their sketches."""
        return self._receipts[index:], self._sketches[index:]

    def sign(self, receipt: Receipt) -> SignedReceipt:
        """With this hop's key."""
        return receipt.sign(self._identity)

    def upstream(self, before: Sequence[bytes], count: int, inputs_root: bytes) -> bytes:
        """Hash of the previous hop's receipt over the `count` rows that are signed for next, if it is among `before`
        and says the same of them; else NOTHING."""
        for data in reversed(before[-_READ_BACK:]):
            try:
                receipt = SignedReceipt.decode(data).receipt
            except InvalidRequest:
                continue
            same = (receipt.terms.session, receipt.terms.stop) == (self.terms.session, self.terms.start)
            if same and (receipt.position, receipt.count) == (self._position, count):
                return receipt.hash if receipt.outputs == inputs_root else NOTHING
        return NOTHING
