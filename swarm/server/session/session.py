"""One client's generation on this hop: its pages, how far it has come, and where its outputs go."""

import asyncio
import time
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass, field

import numpy as np
import torch

from swarm.errors import InvalidRequest, SwarmError
from swarm.market.channel.receivable import Tab
from swarm.server.admission.waiting import Place
from swarm.server.session.next_hop import NextHop
from swarm.server.session.work_log import WorkLog
from swarm.wire import codec
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.receipts import MAX_RECEIPT_BYTES, Tokens
from swarm.wire.transport import MAX_STEP_TOKENS

DECODING_S = 1.0  # a session that sent a single token this recently is in the middle of generating
MAX_FAULTS = 16  # bad steps after which a session is closed
MAX_RECOMPUTED = 10  # times its reservation that a session may compute: what it computes is signed, and that kept
MAX_VISITS = 256  # hops before this one
MAX_RECEIPTS = 2 * MAX_VISITS  # with one step
MAX_LARGE_ANSWERS = 4  # rows and receipts that a client asked for and has not read
OUTBOX_MESSAGES = 256  # unread answers after which a client counts as gone


SessionKey = tuple[bytes, int]  # session id and first block: one peer may be several hops of a chain


def failure(error: SwarmError, load: pb.Load | None = None, of: SessionKey = (b"", 0)) -> pb.Failure:
    """`error` as it travels; swarm.errors.from_wire is the way back."""
    return pb.Failure(code=type(error).__name__, message=str(error), load=load, session_id=of[0], start=of[1])


@dataclass(slots=True)
class Work:
    """A checked step that waits for, or is in, computation."""

    position: int
    rows: codec.Rows  # as they came
    hidden: torch.Tensor  # the same, [count, hidden_size]
    want: int
    visits: list[pb.Visit]  # of the hops before this one
    seq: int
    replay: bool
    seal: bool
    receipts: list[bytes]  # of the hops before this one, unchecked
    prompt: bool  # priced as prefill
    arrived: float = field(default_factory=time.perf_counter)
    done: int = 0  # rows already computed: a long step takes several batches

    @property
    def remaining(self) -> int:
        return len(self.hidden) - self.done

    @property
    def to_compute(self) -> Tokens:
        """What is still to do."""
        return Tokens.of(self.remaining, self.prompt)


class Session:
    """State of one session. Lives in the event loop; nothing else touches it."""

    def __init__(self, request: pb.Open, pages: list[int], hidden_size: int):
        """pages: its block table, from the pool."""
        self.key: SessionKey = (request.session_id, request.start)
        self.start, self.stop = request.start, request.stop
        self.next_hop: NextHop | None = None  # None: this is the last hop, and answers the client
        self.log: WorkLog  # given by whoever opens the session
        self.tab: Tab | None = None  # what it owes; None: it computes for nothing
        self.unpaid_since: float | None = None  # time.monotonic(); its next step waits for a voucher
        self._begun: Work | None = None  # whose worth is set aside
        self.place: Place  # in the line before this server, given by whoever opens the session
        self.priority = request.payment.bid  # nano-credits per block-token
        self.batch = request.payment.batch  # computed while nothing else waits
        self.pages = pages
        self.block_table = np.array(pages, dtype=np.int64)  # the same, as each step's layout needs it
        self.max_tokens = request.max_tokens
        self.wire_dtype = codec.torch_dtype(request.wire_dtype)
        self.queue: deque[Work] = deque()
        self.outbox: asyncio.Queue[pb.ToClient | None] = asyncio.Queue(OUTBOX_MESSAGES)  # None: nothing follows
        self.overflowed = asyncio.Event()  # the client does not read its answers
        self.ended = False
        self.last_active = self.served = time.monotonic()  # served: when its last slice was computed
        self.away_s = 0.0  # running mean: from an answer's departure to the next token's arrival
        self._answered: float | None = None  # when the last answer left, until the next step arrives
        self._faults = 0
        self._hidden_size = hidden_size
        self._length = 0  # positions computed or queued
        self._accepted = 0  # positions, those that were computed again included
        self._last_count = 0  # tokens of the latest step
        self._seq = request.seq  # of the newest step
        self._change: asyncio.Task | None = None  # of the successor, while it is being dialled
        self._large_answers = 0  # in the outbox

    def accept(self, step: pb.Step) -> None:
        """Check `step`, which comes from the network, and queue it. Raises InvalidRequest and changes nothing if it
        does not fit: position, count, dtype, shape and digest are all verified before anything is computed.

        What waits from the step's position on is dropped, for the step rewinds it; so no more than a reservation's
        tokens ever wait, beside the step in computation. A step older than one that came before is dropped itself: a
        hop sent it that has been replaced since.
        """
        if step.seq < self._seq:
            return
        self._check(step)
        rows = codec.read_rows(step.hidden, (step.count, self._hidden_size), self.wire_dtype)
        while len(self.queue) > 1 and self.queue[-1].position >= step.position:  # the first may be in computation
            self.queue.pop()
        self.queue.append(Work(
            step.position, rows, rows.tensor(), step.want, list(step.visits), step.seq, step.replay, step.seal,
            list(step.receipts), step.prompt,
        ))  # fmt: skip
        self._seq = step.seq
        self._length = step.position + step.count
        self._accepted += step.count
        self._last_count = step.count
        self.last_active = time.monotonic()
        if self._answered is not None:
            gap = self.last_active - self._answered
            self.away_s += 0.3 * (gap - self.away_s) if self.away_s else gap
            self._answered = None

    def is_ready(self) -> bool:
        """Whether something waits to be computed, and is paid for as far as it has to be."""
        if not self.queue or self.tab is None:
            return bool(self.queue)
        work = self.queue[0]
        if work is self._begun:
            return True
        self.tab.drop()  # of one that is not computed any more
        self._begun = work if self.tab.begin(work.to_compute) else None
        if self._begun:
            self.unpaid_since = None
        elif self.unpaid_since is None:
            self.unpaid_since = time.monotonic()
        return self._begun is not None

    def computed(self, work: Work) -> None:
        """More rows of `work` are computed, and logged."""
        if self.tab:
            self.tab.progress(self.log.writer.tokens, work.to_compute)

    @property
    def used(self) -> bool:
        """Whether it was ever sent a step."""
        return self._accepted > 0

    @property
    def length(self) -> int:
        """Positions computed or queued."""
        return self._length

    def progress(self, seq: int, load: pb.Load) -> pb.Progress:
        """How far this hop has come, for the client's Probe number `seq`."""
        computed = self.queue[0].position + self.queue[0].done if self.queue else self._length
        return pb.Progress(seq=seq, received=self._length, computed=computed, last_seq=self._seq, load=load)

    def _check(self, step: pb.Step) -> None:
        count, end = step.count, step.position + step.count
        if not 1 <= count <= MAX_STEP_TOKENS:
            raise InvalidRequest(f"a step of {count} tokens; send between 1 and {MAX_STEP_TOKENS}")
        if len(step.visits) > MAX_VISITS:
            raise InvalidRequest(f"a step that claims {len(step.visits)} visits; a chain has at most {MAX_VISITS} hops")
        if len(step.receipts) > MAX_RECEIPTS or any(len(receipt) > MAX_RECEIPT_BYTES for receipt in step.receipts):
            raise InvalidRequest(f"a step with {len(step.receipts)} receipts, or an oversized one")
        if step.position > self._length:
            raise InvalidRequest(
                f"position {step.position} leaves a gap: this session has {self._length} tokens so far"
            )
        if self._accepted + count > MAX_RECOMPUTED * self.max_tokens:
            raise InvalidRequest(
                f"this session has computed {self._accepted} positions, most of them again and again; open another"
            )
        price = self.tab and self.tab.value(Tokens.of(count, step.prompt))
        if price and price > self.tab.credit:
            raise InvalidRequest(
                f"a step of {count} tokens for {price} nano-credits; this peer gives credit for {self.tab.credit}: "
                "send it in smaller pieces"
            )
        if end > self.max_tokens:
            raise InvalidRequest(
                f"positions {step.position}:{end} are beyond the {self.max_tokens} that this session reserved"
            )

    def answered(self) -> None:
        """An output left: the next token is now on its way round the chain."""
        self._answered = self.served = time.monotonic()

    def due(self) -> float | None:
        """By when the next token may be expected (time.monotonic()); None if it is here, or nothing is known."""
        if self._answered is None or not self.away_s or self._last_count != 1:
            return None
        return self._answered + 1.25 * self.away_s

    def is_decoding(self, now: float) -> bool:
        """Whether its next token is likely to arrive soon. now: time.monotonic()."""
        return self._last_count == 1 and now - self.last_active < DECODING_S

    def send_on(self, step: pb.Step) -> None:
        """Send a computed step to where it goes from here."""
        if self.next_hop:
            sent = self.next_hop.send(step)
        elif sent := not step.replay:
            self.send(pb.ToClient(result=step))
        if not sent:
            self.log.hold(step.receipts)

    def relay(self, step: pb.Step) -> None:
        """Hand a computed step to the client because the next hop cannot be reached from here."""
        self.send(pb.ToClient(relay=step))

    def change(self, work: Coroutine[object, object, None]) -> None:
        """Let `work` change the successor in the background: probes are answered meanwhile. A newer change replaces
        one that is not done."""
        if self._change:
            self._change.cancel()
        self._change = asyncio.create_task(work)

    def close(self) -> None:
        """The session has ended; its pages are the scheduler's to release."""
        if self._change:
            self._change.cancel()
        if self.next_hop:
            self.next_hop.close()
        self.log.close()

    def fetch(self, request: pb.Fetch) -> None:
        """Answer with outputs out of the journal. Raises InvalidRequest."""
        if request.count > MAX_STEP_TOKENS:
            raise InvalidRequest(f"asked for {request.count} positions; ask for at most {MAX_STEP_TOKENS} at a time")
        rows = self.log.fetch(request.position, request.count)
        self._send_large(pb.ToClient(rows=pb.Rows(seq=request.seq, hidden=rows.message() if rows else None)))

    def seal(self, request: pb.Seal) -> None:
        """Sign what is not signed yet, and answer with the receipts asked for. Raises InvalidRequest."""
        self.log.seal()
        receipts, sketches = self.log.since(request.first)
        sealed = pb.Sealed(seq=request.seq, receipts=receipts, sketches=sketches if request.sketches else ())
        self._send_large(pb.ToClient(sealed=sealed))

    def _send_large(self, message: pb.ToClient) -> None:
        """An answer that the client asked for: it cannot fill this server's memory by asking and not reading."""
        if self._large_answers >= MAX_LARGE_ANSWERS:
            raise InvalidRequest(f"{MAX_LARGE_ANSWERS} answers are waiting to be read; read them before asking again")
        self._large_answers += 1
        self.send(message)

    def written(self, message: pb.ToClient) -> None:
        """`message` has gone to the client."""
        if message.WhichOneof("kind") in ("rows", "sealed"):
            self._large_answers -= 1

    def fail(self, error: SwarmError, load: pb.Load | None = None) -> None:
        """Tell the client what went wrong; the session goes on, until it has gone wrong too often."""
        self.send(pb.ToClient(failure=failure(error, load)))
        self._faults += 1
        if self._faults == MAX_FAULTS:
            self.send(None)

    def end(self, error: SwarmError) -> None:
        """Tell the client why, and close."""
        self.ended = True
        self.fail(error)
        self.send(None)

    def send(self, message: pb.ToClient | None) -> None:
        """Queue `message` for the client. One that does not read its answers is taken for gone."""
        try:
            self.outbox.put_nowait(message)
        except asyncio.QueueFull:
            self.overflowed.set()
