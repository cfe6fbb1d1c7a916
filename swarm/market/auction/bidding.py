"""A server that bids for orders: commits itself, reveals, and knows what it has to be paid when a session is opened."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable

import grpc

from swarm.clock import now_s
from swarm.errors import InvalidRequest, PeerBusy, SwarmError
from swarm.market.auction.firm_bid import FirmBid
from swarm.market.auction.offer import order_of
from swarm.market.auction.sealed import MAX_BIDS
from swarm.market.auction.tender import Bid, Commitment, Order, SignedBid, commitment_of
from swarm.route.peer import PeerInfo
from swarm.wire import messages_pb2 as pb
from swarm.wire.failures import failure
from swarm.wire.formats.quotes import Price
from swarm.wire.identity import Identity
from swarm.wire.rate_limit import Allowance, network_of

SKEW_MS = 5_000  # by which a client's clock may differ from this one's
MAX_LIFE_MS = 60_000  # from an order to its latest start
MAX_ORDERS = 1024  # that it stands by at once
CALLS_EACH, CALLS, CALLS_PERIOD_S = 128, 512, 10.0  # of one network, and of all
MAX_CALLERS = 1024

_Tendering = grpc.aio.ServicerContext[pb.Tender, pb.Tendered]


class Bidding:
    """The service's method Tender, and the bids that sessions are opened at. Lives in the event loop."""

    def __init__(
        self, served: Callable[[], PeerInfo], identity: Identity, ledger: bytes, bid: Callable[[Order, int, int], Bid],
        now: Callable[[], float] = now_s,
    ):  # fmt: skip
        """served: what this server announces now. ledger: id of the one it is paid on. bid: for an order, with blocks
        from first to last that it serves. now: Unix time."""
        self._served, self._identity, self._ledger, self._bid, self._now = served, identity, ledger, bid, now
        self._orders: dict[bytes, FirmBid] = {}  # by hash
        self._callers: OrderedDict[str, Allowance] = OrderedDict()
        self._calls = Allowance(CALLS, CALLS_PERIOD_S)
        self._clearing = asyncio.Lock()

    async def tender(self, request: pb.Tender, context: _Tendering) -> pb.Tendered:
        """The method."""
        try:
            return await self.answer(request, network_of(context.peer()))
        except SwarmError as error:
            return pb.Tendered(failure=failure(error))

    async def answer(self, request: pb.Tender, network: str) -> pb.Tendered:
        """What this server says to an order, which is untrusted and comes from `network`. Raises InvalidRequest, and
        PeerBusy if more come than it looks at."""
        self._count(network)
        order = Order.decode(request.order)
        if not request.commitment:
            return pb.Tendered(commitment=self._commit(order).encode())
        return pb.Tendered(bid=(await self._reveal(order, request)).encode())

    async def lease(self, request: pb.Open) -> FirmBid:
        """What a session draws on that `request`, which is untrusted, opens with an offer.

        Raises InvalidRequest if the offer pays less than is due, or is not for this session; PeerBusy if this server
        stands by its bid no more, or its order's tokens are in use or used up: the client is to order again.
        """
        payment = request.payment
        firm = self._orders.get(order_of(payment.offer))
        if firm is None or not firm.is_revealed:
            raise PeerBusy("this peer has made no bid for this order, or stands by it no more; order again")
        order = firm.order
        if self._now_ms > order.start_by_ms + SKEW_MS:
            raise PeerBusy("an offer after its order's latest start; order again")
        if payment.batch != order.batch:
            raise InvalidRequest("an offer for batch work is good for batch sessions, and for no others")
        async with self._clearing:
            lease = await asyncio.to_thread(firm.lease, payment.offer, request.start, request.stop)
        price = Price(payment.prefill, payment.decode)
        if price.prefill < lease.price.prefill or price.decode < lease.price.decode:
            raise InvalidRequest(f"an opening at {tuple(price)} nano-credits; the award is {tuple(lease.price)}")
        if (request.stop - request.start) * request.max_tokens > firm.left:
            raise PeerBusy(f"a session of {request.max_tokens} tokens; there are fewer left of its order: order again")
        return firm

    @property
    def _now_ms(self) -> int:
        return int(self._now() * 1000)

    def _count(self, network: str) -> None:
        allowance = self._callers.pop(network, None) or Allowance(CALLS_EACH, CALLS_PERIOD_S)
        self._callers[network] = allowance
        if len(self._callers) > MAX_CALLERS:
            self._callers.popitem(last=False)
        if not (allowance.spend() and self._calls.spend()):
            raise PeerBusy(f"more orders than this peer looks at in {CALLS_PERIOD_S:.0f} s; order again later")

    def _commit(self, order: Order) -> Commitment:
        """This server's commitment, the same when it is asked again."""
        if order.hash not in self._orders:
            self._check(order)
            self._tidy()
            if len(self._orders) >= MAX_ORDERS:
                raise PeerBusy(f"this peer stands by {MAX_ORDERS} bids already; order again later")
            bid = self._bid(order, *self._served().blocks)
            self._orders[order.hash] = FirmBid(order, bid.sign(self._identity), commitment_of(bid, self._identity))
        return self._orders[order.hash].commitment

    async def _reveal(self, order: Order, request: pb.Tender) -> SignedBid:
        firm = self._orders.get(order.hash)
        if firm is None or firm.commitment.encode() != request.commitment:
            raise InvalidRequest("this peer has not committed itself so for this order")
        if not order.commit_by_ms - SKEW_MS <= self._now_ms < order.reveal_by_ms + SKEW_MS:
            raise InvalidRequest("too early to reveal a bid, or too late, by this peer's clock")
        if len(request.commitments) > MAX_BIDS:
            raise InvalidRequest(f"{len(request.commitments)} commitments to bids for one order; at most {MAX_BIDS}")
        return firm.reveal(await asyncio.to_thread(lambda: [*map(Commitment.decode, request.commitments)]))

    def _check(self, order: Order) -> None:
        record, now_ms = self._served(), self._now_ms
        if order.ledger != self._ledger:
            raise InvalidRequest(f"this peer is paid on the ledger {self._ledger.hex()[:16]}, and on no other")
        if (order.model, order.revision) != (record.model, record.revision):
            raise InvalidRequest(f"this peer serves {record.model!r} in revision {record.revision}, and nothing else")
        if order.numerics not in ("", record.numerics_id):
            raise InvalidRequest(f"this peer computes in numerics {record.numerics_id!r}, not {order.numerics!r}")
        if order.stop > record.num_blocks or order.stop <= record.start or order.start >= record.stop:
            raise InvalidRequest(
                f"an order for blocks {order.start}:{order.stop}; this peer serves {record.start}:{record.stop}"
            )
        if now_ms >= order.commit_by_ms + SKEW_MS:
            raise InvalidRequest(f"by this peer's clock, it is {now_ms - order.commit_by_ms} ms too late to bid")
        if order.start_by_ms > now_ms + MAX_LIFE_MS + SKEW_MS:
            raise InvalidRequest(f"a bid is good for {MAX_LIFE_MS // 1000} s at most, not to the order's latest start")

    def _tidy(self) -> None:
        """Stand no more by bids whose time is over."""
        horizon = self._now_ms - SKEW_MS
        self._orders = {
            key: firm for key, firm in self._orders.items()
            if horizon <= (firm.order.start_by_ms if firm.is_revealed else firm.order.reveal_by_ms)
        }  # fmt: skip
