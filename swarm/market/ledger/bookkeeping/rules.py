"""The rules of the embedded ledger: what every kind of order does, and when it is refused.

They are applied when an order comes in and again in an audit, and see nothing but the tables, the order, and the time
of its entry. A refusal is an exception: the caller takes back what was written until then.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from swarm.errors import LedgerRefusal
from swarm.market.channel.vouchers import SignedVoucher
from swarm.market.ledger.bookkeeping.orders import SignedOrder, unpack_payments, unpack_vouchers
from swarm.market.ledger.bookkeeping.tables import Tables
from swarm.market.ledger.ids import channel_id, format_address, ledger_id
from swarm.market.ledger.ledger import PER_MILLION, Channel, Posting, Rules
from swarm.wire.formats.amounts import MAX_AMOUNT, format_amount
from swarm.wire.formats.receipts import SignedReceipt, is_equivocation
from swarm.wire.identity import ADDRESS_BYTES, keccak256

OUTSIDE = bytes(ADDRESS_BYTES)
_SLOT = struct.Struct(">20s16sIQI")


@dataclass(frozen=True)
class Terms:
    """What the first entry of a book fixes."""

    id: bytes
    issuer: bytes  # addresses
    arbiter: bytes
    keeper: bytes
    rules: Rules

    @classmethod
    def of(cls, genesis: SignedOrder) -> "Terms":
        """Raises LedgerRefusal if the order does not make a ledger."""
        order = genesis.order
        match order.kind, order.values:
            case "genesis", (
                bytes(nonce),
                bytes(arbiter),
                bytes(keeper),
                int(delay),
                int(unbonding),
                int(reporter),
                int(burn),
            ):
                rules = Rules(delay, unbonding, reporter, burn)
            case _:
                raise LedgerRefusal(f"a ledger that begins with {order.kind}")
        if order.ledger != ledger_id(genesis.signer, nonce):
            raise LedgerRefusal("a ledger's id that does not follow from its issuer")
        if max(rules.reporter_ppm, rules.burn_ppm) > PER_MILLION:
            raise LedgerRefusal(f"a share of more than a whole: {max(rules.reporter_ppm, rules.burn_ppm)} ppm")
        return cls(order.ledger, genesis.signer, arbiter, keeper, rules)


@dataclass
class Step:
    """One order being carried out."""

    tables: Tables
    terms: Terms
    by: bytes  # address of who ordered it
    now_s: int
    postings: list[Posting] = field(default_factory=list)
    touched: set[bytes] = field(default_factory=set)

    def post(self, address: bytes, bucket: str, amount: int) -> None:
        """Add to a bucket. Raises LedgerRefusal if there is not so much in it."""
        if amount == 0:
            return
        line = Posting(address, bucket, amount)
        balance = self.tables.add(line)
        if balance < 0:
            there = format_amount(balance - amount)
            raise LedgerRefusal(f"{format_address(address)} has {there} {bucket}, and not {format_amount(-amount)}")
        self.postings.append(line)

    def move(self, source: str, target: str, amount: int) -> None:
        """From one bucket of who ordered it to another."""
        self.post(self.by, source, -amount)
        self.post(self.by, target, amount)

    def mint(self, to: bytes, amount: int) -> None:
        if self.tables.supply().minted + amount > MAX_AMOUNT:
            raise LedgerRefusal(f"a ledger mints at most {format_amount(MAX_AMOUNT)} in all")
        self.post(to, "available", amount)
        self.post(OUTSIDE, "minted", -amount)

    def once(self, what: str, id: bytes, name: str) -> None:
        _need(self.tables.is_first(what, id), f"{name} was done before")

    def open_channel(self, id: bytes) -> Channel:
        """The channel with this id, which is still open."""
        channel = self.tables.channel(id)
        if channel is None:
            raise LedgerRefusal(f"no channel {id.hex()}")
        _need(not channel.is_closed, f"channel {id.hex()} is closed")
        self.touched |= {channel.payer, channel.payee}
        return channel

    def own_channel(self, id: bytes) -> Channel:
        channel = self.open_channel(id)
        _need(channel.payer == self.by, f"channel {id.hex()} is {format_address(channel.payer)}'s, who pays from it")
        return channel


def apply(tables: Tables, terms: Terms, signed: SignedOrder, now_s: int) -> Step:
    """Carry out an order other than the first; returns what it did. Raises LedgerRefusal and InvalidRequest."""
    order = signed.order
    _need(order.ledger == terms.id, f"an order for ledger {order.ledger.hex()}; this is {terms.id.hex()}")
    _need(order.kind in _KINDS, f"nobody can order a {order.kind} of a ledger that exists")
    step = Step(tables, terms, signed.signer, now_s, touched={signed.signer})
    _KINDS[order.kind](step, *order.values)
    return step


# --- money -----------------------------------------------------------------------------------------------------------


def _mint(step: Step, to: bytes, amount: int) -> None:
    _only(step, step.terms.issuer, "issuer")
    step.mint(to, _positive(amount))


def _burn(step: Step, amount: int) -> None:
    step.post(step.by, "available", -_positive(amount))
    step.post(OUTSIDE, "burned", amount)


def _transfer(step: Step, to: bytes, amount: int) -> None:
    step.post(step.by, "available", -_positive(amount))
    step.post(to, "available", amount)


# --- channels --------------------------------------------------------------------------------------------------------


def _open_channel(step: Step, payee: bytes, amount: int, salt: bytes) -> None:
    id = channel_id(step.terms.id, step.by, payee, salt)
    _need(step.tables.channel(id) is None, f"channel {id.hex()} exists")
    step.move("available", "escrowed", _positive(amount))
    step.tables.put_channel(Channel(id, step.by, payee, amount))
    step.touched.add(payee)


def _top_up(step: Step, id: bytes, amount: int) -> None:
    channel = step.own_channel(id)
    step.move("available", "escrowed", _positive(amount))
    step.tables.put_channel(replace(channel, deposit=channel.deposit + amount, closes_at=0))


def _settle(step: Step, vouchers: bytes) -> None:
    for voucher in unpack_vouchers(vouchers):
        _settle_one(step, voucher)


def _settle_one(step: Step, signed: SignedVoucher) -> None:
    voucher = signed.voucher
    _need(voucher.ledger == step.terms.id, f"a voucher for ledger {voucher.ledger.hex()}")
    channel = step.open_channel(voucher.channel)
    _need(signed.signer == channel.payer, f"a voucher for channel {channel.id.hex()} that its payer did not sign")
    amount = format_amount(voucher.amount)
    _need(voucher.amount > channel.paid, f"a stale voucher over {amount}; {format_amount(channel.paid)} is paid")
    _need(voucher.amount <= channel.deposit, f"a voucher over {amount}; in escrow: {format_amount(channel.deposit)}")
    worth = voucher.amount - channel.paid
    burned = worth * step.terms.rules.burn_ppm // PER_MILLION
    step.post(channel.payer, "escrowed", -worth)
    step.post(channel.payee, "available", worth - burned)
    step.post(OUTSIDE, "burned", burned)
    step.tables.put_channel(replace(channel, paid=voucher.amount))


def _release(step: Step, id: bytes) -> None:
    channel = step.open_channel(id)
    _need(channel.payee == step.by, f"only the payee of channel {id.hex()} may release it")
    _close_now(step, channel)


def _request_close(step: Step, id: bytes) -> None:
    channel = step.own_channel(id)
    _need(not channel.closes_at, f"channel {id.hex()} is already to be closed, from {channel.closes_at} on")
    step.tables.put_channel(replace(channel, closes_at=step.now_s + step.terms.rules.withdraw_delay_s))


def _close(step: Step, id: bytes) -> None:
    channel = step.own_channel(id)
    _need(channel.closes_at, f"ask for channel {id.hex()} to be closed first; the payee has a delay to settle in")
    _need(step.now_s >= channel.closes_at, f"channel {id.hex()} may be closed from {channel.closes_at} on")
    _close_now(step, channel)


def _close_now(step: Step, channel: Channel) -> None:
    step.post(channel.payer, "escrowed", -channel.rest)
    step.post(channel.payer, "available", channel.rest)
    step.tables.put_channel(replace(channel, is_closed=True))


# --- stake -----------------------------------------------------------------------------------------------------------


def _bond(step: Step, amount: int) -> None:
    step.move("available", "staked", _positive(amount))


def _unbond(step: Step, amount: int) -> None:
    step.move("staked", "unbonding", _positive(amount))
    step.tables.add_unbonding(step.by, amount, step.now_s + step.terms.rules.unbonding_s)


def _withdraw(step: Step) -> None:
    step.move("unbonding", "available", step.tables.take_released(step.by, step.now_s))


def _slash_equivocation(step: Step, first: bytes, second: bytes) -> None:
    one, other = SignedReceipt.decode(first), SignedReceipt.decode(second)
    _need(is_equivocation(one, other), "these two receipts are no equivocation: one work, and two stories of it")
    step.once("equivocation", keccak256(_SLOT.pack(*one.receipt.slot)), "slashing for this equivocation")
    _take_stake(step, one.receipt.terms.peer, MAX_AMOUNT, step.by)


def _slash(step: Step, offender: bytes, amount: int, reporter: bytes, evidence: bytes) -> None:
    _only(step, step.terms.arbiter, "arbiter")
    step.once("slash", evidence, f"slashing for the evidence {evidence.hex()}")
    _take_stake(step, offender, _positive(amount), reporter)


def _take_stake(step: Step, offender: bytes, at_most: int, reporter: bytes) -> None:
    account = step.tables.account(offender)
    bonded = min(account.staked, at_most)
    unbonding = min(account.unbonding, at_most - bonded)
    slashed = bonded + unbonding
    _need(slashed, f"{format_address(offender)} has no stake")
    step.post(offender, "staked", -bonded)
    step.post(offender, "unbonding", -unbonding)
    step.tables.take_unbonding(offender, unbonding)
    share = slashed * step.terms.rules.reporter_ppm // PER_MILLION
    step.post(reporter, "available", share)
    step.post(OUTSIDE, "burned", slashed - share)


# --- epochs ----------------------------------------------------------------------------------------------------------


def _commit(step: Step, epoch: int, digest: bytes) -> None:
    _need(epoch > step.tables.last_ended(), f"the commitments of epoch {epoch} are closed")
    _need(step.tables.commit(epoch, step.by, digest), f"{format_address(step.by)} has committed in epoch {epoch}")


def _reveal(step: Step, epoch: int, payload: bytes) -> None:
    _need(epoch <= step.tables.last_ended(), f"the commitments of epoch {epoch} are still open")
    committed = step.tables.committed(epoch, step.by)
    if committed is None:
        raise LedgerRefusal(f"{format_address(step.by)} has not committed in epoch {epoch}")
    digest, payload_before = committed
    _need(payload_before is None, f"{format_address(step.by)} has revealed in epoch {epoch}")
    _need(keccak256(payload) == digest, f"this is not what {format_address(step.by)} committed to in epoch {epoch}")
    step.tables.reveal(epoch, step.by, payload)


def _end_commits(step: Step, epoch: int) -> None:
    _only(step, step.terms.issuer, "issuer")
    _need(epoch > step.tables.last_ended(), f"the commitments of epoch {epoch} are closed")
    step.once("end_commits", epoch.to_bytes(8), f"closing the commitments of epoch {epoch}")


def _emit(step: Step, epoch: int, payments: bytes) -> None:
    _only(step, step.terms.issuer, "issuer")
    step.once("emit", epoch.to_bytes(8), f"the emission of epoch {epoch}")
    for to, amount in unpack_payments(payments).items():
        step.mint(to, amount)


# --- conditions ------------------------------------------------------------------------------------------------------


def _need(condition: object, otherwise: str) -> None:
    if not condition:
        raise LedgerRefusal(otherwise)


def _only(step: Step, who: bytes, role: str) -> None:
    _need(step.by == who, f"only the {role}, {format_address(who)}, may order this, not {format_address(step.by)}")


def _positive(amount: int) -> int:
    _need(amount > 0, "an amount of nothing")
    return amount


_KINDS: dict[str, Callable[..., None]] = {
    "mint": _mint, "burn": _burn, "transfer": _transfer, "open_channel": _open_channel, "top_up": _top_up,
    "settle": _settle, "release": _release, "request_close": _request_close, "close": _close, "bond": _bond,
    "unbond": _unbond, "withdraw": _withdraw, "slash_equivocation": _slash_equivocation, "slash": _slash,
    "commit": _commit, "reveal": _reveal, "end_commits": _end_commits, "emit": _emit,
}  # fmt: skip
