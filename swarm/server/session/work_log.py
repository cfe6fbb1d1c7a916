"""What one session's work on this hop was: kept to be sent again and to be audited, and signed."""

from collections.abc import Sequence

from swarm.server.session.journals import Journals
from swarm.verify.receipts.writing import ReceiptWriter
from swarm.wire.codec import Rows

MAX_HELD = 256  # receipts of the hops before this one that wait for something to go along with


class WorkLog:
    """Everything that a session computes goes through `record`; its receipts travel with what it sends on."""

    def __init__(self, journals: Journals, wire_dtype: int, writer: ReceiptWriter):
        """wire_dtype: a pb.DType."""
        self._journals, self.writer = journals, writer
        self.journal = journals.open(wire_dtype)  # of the outputs
        self._held: list[bytes] = []

    def record(self, position: int, inputs: Rows, outputs: Rows, prompt: bool = False) -> None:
        """Rows from `position` on, as they came and as they go. prompt: they are priced as prefill."""
        self._journals.record(self.journal, position, outputs.data)
        self.writer.record(position, inputs, outputs, prompt)

    def seal(self, before: Sequence[bytes] = ()) -> None:
        """Sign what is not signed yet. before: receipts that came along with the inputs."""
        self.writer.seal(before)

    def outgoing(self, before: Sequence[bytes]) -> list[bytes]:
        """Receipts to send along with a step: those that came with it, and this hop's own."""
        held, self._held = self._held, []
        return [*held, *before, *self.writer.take()]

    def hold(self, receipts: Sequence[bytes]) -> None:
        """The step that these were to go along with ends here; the next one takes them."""
        self._held = [*self._held, *receipts][-MAX_HELD:]

    def since(self, index: int) -> tuple[list[bytes], list[bytes]]:
        """This hop's receipts from number `index` on, and their sketches."""
        return self.writer.since(index)

    def fetch(self, position: int, count: int) -> Rows | None:
        """Outputs that were sent on; None if they are not all here any more."""
        return self.journal.rows(position, count)

    def close(self) -> None:
        """The session has ended."""
        self._journals.close(self.journal)
