"""A ledger in a few lines of plain Python, to compare real ones with."""

from collections import Counter
from copy import deepcopy
from dataclasses import dataclass, field

from swarm.market.ledger.ledger import Account, Rules
from swarm.wire.formats.amounts import MAX_AMOUNT

BUCKETS = ("available", "escrowed", "staked", "unbonding")
CLOSE_CALL_S = 120  # on a chain time goes on by itself: what may be due within this is not tried


class Refused(Exception):
    pass


@dataclass(frozen=True)
class Operation:
    """args: accounts by name, channels by number, vouchers as (channel, amount, signer, whether for this ledger)."""

    kind: str
    by: str
    args: tuple = ()


@dataclass
class ModelChannel:
    payer: str
    payee: str
    deposit: int
    paid: int = 0
    closes_at: int = 0
    is_closed: bool = False


@dataclass
class Model:
    rules: Rules
    is_backed: bool = False  # anybody mints
    owned: Counter = field(default_factory=Counter)  # by name and bucket
    minted: int = 0
    burned: int = 0
    channels: list[ModelChannel] = field(default_factory=list)
    unbonding: list[list] = field(default_factory=list)  # [name, time it is free, amount]
    done: set = field(default_factory=set)
    ended: int = -1
    committed: dict = field(default_factory=dict)  # payload by epoch and name
    revealed: dict = field(default_factory=dict)

    def perform(self, operation: Operation, now_s: int) -> object:
        """Its result. Raises Refused, and has then changed nothing."""
        after = deepcopy(self)
        result = getattr(after, f"_{operation.kind}")(operation.by, now_s, *operation.args)
        self.__dict__ = after.__dict__
        return result

    def is_close_call(self, operation: Operation, now_s: int) -> bool:
        """Whether a few seconds decide what becomes of it."""
        times = [free_s for name, free_s, _ in self.unbonding if name == operation.by]
        if operation.kind == "close":
            times = [channel.closes_at for channel in self.channels]
        return operation.kind in ("close", "withdraw") and any(abs(now_s - due) < CLOSE_CALL_S for due in times)

    def account(self, name: str) -> Account:
        return Account(*(self.owned[name, bucket] for bucket in BUCKETS))

    def _need(self, condition: object) -> None:
        if not condition:
            raise Refused

    def _take(self, name: str, bucket: str, amount: int) -> None:
        self._need(0 < amount <= self.owned[name, bucket])
        self.owned[name, bucket] -= amount

    def _create(self, name: str, amount: int) -> None:
        self._need(amount >= 0 and self.minted + amount <= MAX_AMOUNT)
        self.minted += amount
        self.owned[name, "available"] += amount

    def _mint(self, by: str, now_s: int, to: str, amount: int) -> None:
        self._need((by == "issuer" or self.is_backed) and amount > 0)
        self._create(to, amount)

    def _burn(self, by: str, now_s: int, amount: int) -> None:
        self._take(by, "available", amount)
        self.burned += amount

    def _transfer(self, by: str, now_s: int, to: str, amount: int) -> None:
        self._take(by, "available", amount)
        self.owned[to, "available"] += amount

    def _open_channel(self, by: str, now_s: int, payee: str, amount: int) -> None:
        self._take(by, "available", amount)
        self.owned[by, "escrowed"] += amount
        self.channels.append(ModelChannel(by, payee, amount))

    def _channel(self, number: int) -> ModelChannel:
        self._need(number < len(self.channels) and not self.channels[number].is_closed)
        return self.channels[number]

    def _top_up(self, by: str, now_s: int, number: int, amount: int) -> None:
        channel = self._channel(number)
        self._need(channel.payer == by)
        self._take(by, "available", amount)
        self.owned[by, "escrowed"] += amount
        channel.deposit += amount
        channel.closes_at = 0

    def _settle(self, by: str, now_s: int, *vouchers: tuple) -> list[int]:
        self._need(vouchers)
        return [self._pay(*voucher) for voucher in vouchers]

    def _pay(self, number: int, amount: int, signer: str, is_ours: bool) -> int:
        channel = self._channel(number)
        self._need(is_ours and channel.payer == signer and channel.paid < amount <= channel.deposit)
        worth = amount - channel.paid
        burned = worth * self.rules.burn_ppm // 1_000_000
        self._take(channel.payer, "escrowed", worth)
        self.owned[channel.payee, "available"] += worth - burned
        self.burned += burned
        channel.paid = amount
        return worth

    def _release(self, by: str, now_s: int, number: int) -> None:
        self._need(self._channel(number).payee == by)
        self._end(self._channel(number))

    def _request_close(self, by: str, now_s: int, number: int) -> None:
        channel = self._channel(number)
        self._need(channel.payer == by and not channel.closes_at)
        channel.closes_at = now_s + self.rules.withdraw_delay_s

    def _close(self, by: str, now_s: int, number: int) -> None:
        channel = self._channel(number)
        self._need(channel.payer == by and channel.closes_at and now_s >= channel.closes_at)
        self._end(channel)

    def _end(self, channel: ModelChannel) -> None:
        rest = channel.deposit - channel.paid
        self.owned[channel.payer, "escrowed"] -= rest
        self.owned[channel.payer, "available"] += rest
        channel.is_closed = True

    def _bond(self, by: str, now_s: int, amount: int) -> None:
        self._take(by, "available", amount)
        self.owned[by, "staked"] += amount

    def _unbond(self, by: str, now_s: int, amount: int) -> None:
        self._take(by, "staked", amount)
        self.owned[by, "unbonding"] += amount
        self.unbonding.append([by, now_s + self.rules.unbonding_s, amount])

    def _withdraw(self, by: str, now_s: int) -> int:
        free = sum(amount for name, free_s, amount in self.unbonding if name == by and free_s <= now_s)
        self.unbonding = [part for part in self.unbonding if part[0] != by or part[1] > now_s]
        self.owned[by, "unbonding"] -= free
        self.owned[by, "available"] += free
        return free

    def _slash_equivocation(self, by: str, now_s: int, offender: str, index: int, is_one: bool) -> int:
        self._need(is_one)
        self._once("equivocation", offender, index)
        return self._punish(offender, MAX_AMOUNT, by)

    def _slash(self, by: str, now_s: int, offender: str, amount: int, reporter: str, evidence: int) -> int:
        self._need(by == "issuer" and amount > 0)
        self._once("slash", evidence)
        return self._punish(offender, amount, reporter)

    def _punish(self, offender: str, amount: int, reporter: str) -> int:
        bonded = min(amount, self.owned[offender, "staked"])
        unbonding = min(amount - bonded, self.owned[offender, "unbonding"])
        self._need(bonded + unbonding)
        self.owned[offender, "staked"] -= bonded
        self.owned[offender, "unbonding"] -= unbonding
        self._shorten(offender, unbonding)
        share = (bonded + unbonding) * self.rules.reporter_ppm // 1_000_000
        self.owned[reporter, "available"] += share
        self.burned += bonded + unbonding - share
        return bonded + unbonding

    def _shorten(self, offender: str, amount: int) -> None:
        """What is on its way back, by what was slashed of it."""
        for part in self.unbonding:
            if part[0] == offender:
                taken = min(amount, part[2])
                part[2] -= taken
                amount -= taken

    def _commit(self, by: str, now_s: int, epoch: int, payload: bytes) -> None:
        self._need(epoch > self.ended and (epoch, by) not in self.committed)
        self.committed[epoch, by] = payload

    def _reveal(self, by: str, now_s: int, epoch: int, payload: bytes) -> None:
        self._need(epoch <= self.ended and self.committed.get((epoch, by)) == payload)
        self._need((epoch, by) not in self.revealed)
        self.revealed[epoch, by] = payload

    def _end_commits(self, by: str, now_s: int, epoch: int) -> None:
        self._need(by == "issuer" and epoch > self.ended)
        self.ended = epoch

    def _emit(self, by: str, now_s: int, epoch: int, *payments: tuple) -> None:
        self._need(by == "issuer")
        self._once("emit", epoch)
        for name, amount in payments:
            self._create(name, amount)

    def _once(self, *what: object) -> None:
        self._need(what not in self.done)
        self.done.add(what)
