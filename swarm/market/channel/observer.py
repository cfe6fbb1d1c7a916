"""How a client pays while a session goes on: a voucher to a hop whenever enough is owed, and the rest at its end."""

import asyncio
from collections.abc import Sequence

from swarm.market.channel.invoice import HopInvoice
from swarm.market.channel.wallet import Wallet
from swarm.results import Payment
from swarm.session.hop import HopStream
from swarm.session.observers import HopObserver, Hops
from swarm.verify.receipts.observer import ReceiptObserver
from swarm.wire import codec
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.receipts import Tokens


class PaymentObserver(HopObserver):
    """Of one session. In the end a hop gets what its receipts say, up to what it was sent."""

    def __init__(self, wallet: Wallet, receipts: ReceiptObserver, prompt_tokens: int = 0):
        """receipts: of the same session, told of everything before this. prompt_tokens: that are there at the
        beginning, of the session's max_tokens."""
        self._wallet, self._receipts, self._prompt_tokens = wallet, receipts, prompt_tokens
        self._invoices: dict[HopStream, HopInvoice] = {}  # of those hops that want to be paid
        self._sent = 0  # positions

    def payments(self) -> list[Payment]:
        """What was paid so far, to every hop that wants to be paid, in the order in which they were opened."""
        opened = sorted(self._invoices.items(), key=lambda item: item[1].request.seq)
        return [
            Payment(
                hop.hop.peer.peer_id, (hop.hop.start, hop.hop.stop), *invoice.tokens, *invoice.price, invoice.amount
            )
            for hop, invoice in opened
            if invoice.amount
        ]

    async def opening(self, hop: HopStream, request: pb.Open, live_from: int) -> None:
        """Raises PaymentRequired if the budget or the account does not allow it, PeerUnreachable for the ledger."""
        if offer := hop.hop.offer:
            request.payment.offer = offer.proof
            request.payment.prefill, request.payment.decode = offer.price
        prefill = max(self._prompt_tokens, live_from)
        tokens = Tokens(prefill, max(request.max_tokens - prefill, 0))
        if invoice := await self._wallet.open(hop.hop, request, tokens):
            self._invoices[hop] = invoice
            invoice.note_replay(live_from)

    def opened(self, hop: HopStream, request: pb.Open, answer: pb.Opened, live_from: int) -> None:
        if invoice := self._invoices.get(hop):
            invoice.hear(answer)

    def sending(self, hops: Hops, position: int, rows: codec.Rows, prompt: bool) -> bool:
        count = len(rows.digests)
        self._sent, tokens = position + count, Tokens.of(count, prompt)
        for hop in hops:
            if invoice := self._invoices.get(hop):
                invoice.note_sent(tokens)
        return False

    async def computing(self, hops: Hops) -> None:
        for hop in hops:
            if (invoice := self._invoices.get(hop)) and invoice.is_due:
                await self._pay(hop, invoice)

    def answered(self, hops: Hops, step: pb.Step, prompt: bool, digests: Sequence[bytes]) -> None:
        tokens = Tokens.of(step.count, prompt)
        for hop in hops:
            if invoice := self._invoices.get(hop):
                invoice.note_got(tokens)

    async def waiting(self, hops: Hops) -> None:
        """A hop may wait for what it is owed, though that would not be due yet."""
        for hop in hops:
            if (invoice := self._invoices.get(hop)) and invoice.unpaid:
                await self._pay(hop, invoice)

    def took_over(self, hops: Hops, position: int) -> None:
        for hop in hops:
            if invoice := self._invoices.get(hop):
                invoice.note_filled(position)

    async def leaving(self, hop: HopStream) -> None:
        await self._pay_up([hop])

    async def closing(self, hops: Hops, alive: Hops) -> None:
        await self._pay_up(alive)

    def closed(self, hop: HopStream) -> None:
        if invoice := self._invoices.get(hop):
            invoice.close()

    async def _pay(self, hop: HopStream, invoice: HopInvoice) -> None:
        """A voucher for all that is owed. Raises HopFailed if the stream is broken."""
        await hop.tell(pb.ToServer(paid=pb.Paid(voucher=invoice.voucher())))

    async def _pay_up(self, hops: Hops) -> None:
        """What their receipts say, and wait until it is there."""
        asking = []
        for hop in hops:
            if invoice := self._invoices.get(hop):
                invoice.note_receipts(self._receipts.of(hop).receipts)
                asking.append(hop.request(pb.Paid(voucher=invoice.voucher())))
        await asyncio.gather(*asking)
        await asyncio.gather(*map(self._acknowledge, hops))

    async def _acknowledge(self, hop: HopStream) -> None:
        """Sign for work without a price, as far as the hop has: every position of the session once."""
        receipts = self._receipts.of(hop).receipts
        if not receipts or hop.hop.peer.asks.mode != "contribution":
            return
        last = receipts[-1].receipt
        tokens = min(sum(one.receipt.count for one in receipts), self._sent)
        data = self._wallet.acknowledge(last.terms, (last.terms.stop - last.terms.start) * tokens, last.hash)
        await hop.request(pb.Paid(voucher=data))
