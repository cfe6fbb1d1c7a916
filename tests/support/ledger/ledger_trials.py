"""Random operations on a real ledger and on its model, which must never differ."""

import hashlib
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import count
from random import Random

from ledger_crashes import Died, FragileWorld
from ledger_model import BUCKETS, Model, Operation, Refused
from ledgers import KEYS, World, equivocation
from swarm.errors import InvalidRequest
from swarm.market.channel.vouchers import SignedVoucher
from swarm.market.ledger.ledger import Channel, Ledger, Supply
from swarm.market.ledger.sqlite import SqliteLedger
from swarm.wire.formats.amounts import MAX_AMOUNT
from swarm.wire.identity import keccak256

NAMES = list(KEYS)
EPOCHS = 6


def random_operation(random: Random, kind: str, model: Model) -> Operation:
    """Legal about as often as not."""
    draw = _Draw(random, model)
    by = draw.by(kind)
    return Operation(kind, by, tuple(_ARGS[kind](draw, by)))


class _Draw:
    def __init__(self, random: Random, model: Model):
        self._random, self._model = random, model

    def by(self, kind: str) -> str:
        privileged = kind in ("mint", "slash", "end_commits", "emit")
        return "issuer" if privileged and self._random.random() < 0.8 else self.name()

    def name(self) -> str:
        return self._random.choice(NAMES)

    def amount(self, at_most: int) -> int:
        """Mostly a part of what there is."""
        choices = (1, at_most // 3, at_most // 2, at_most, at_most + 1, 0, MAX_AMOUNT)
        return self._random.choices(choices, weights=(2, 4, 4, 2, 1, 0.5, 0.5))[0]

    def of(self, name: str, bucket: str) -> int:
        return self.amount(self._model.owned[name, bucket])

    def minted(self) -> int:
        return self._random.choices((self._random.randrange(1, 10**12), MAX_AMOUNT, 0), weights=(30, 1, 1))[0]

    def channel(self, by: str, role: str) -> int:
        """Mostly an open one of `by`'s; else any, or one that does not exist."""
        channels = self._model.channels
        own = [number for number, one in enumerate(channels) if getattr(one, role) == by and not one.is_closed]
        if own and self._random.random() < 0.8:
            return self._random.choice(own)
        return self._random.randrange(len(channels) + 1)

    def voucher(self, by: str) -> tuple[int, int, str, bool]:
        number = self.channel(by, "payee")
        if number == len(self._model.channels):
            return number, 1, self.name(), True
        channel = self._model.channels[number]
        signer = channel.payer if self._random.random() < 0.9 else self.name()
        amount = channel.paid + self.amount(channel.deposit - channel.paid)
        return number, min(amount, MAX_AMOUNT), signer, self._random.random() < 0.95

    def some(self, make: Callable[[], object], at_most: int) -> list:
        return [make() for _ in range(self._random.randrange(at_most + 1))]

    def number(self, count: int) -> int:
        return self._random.randrange(count)

    def payload(self) -> bytes:
        return bytes([self.number(2)])

    def payments(self) -> list[tuple[str, int]]:
        return [(name, self.minted()) for name in dict.fromkeys(self.some(self.name, 3))]


_ARGS: dict[str, Callable[[_Draw, str], tuple]] = {
    "mint": lambda draw, by: (draw.name(), draw.minted()),
    "burn": lambda draw, by: (draw.of(by, "available") // 10,),
    "transfer": lambda draw, by: (draw.name(), draw.of(by, "available")),
    "open_channel": lambda draw, by: (draw.name(), draw.of(by, "available")),
    "top_up": lambda draw, by: (draw.channel(by, "payer"), draw.of(by, "available")),
    "settle": lambda draw, by: draw.some(lambda: draw.voucher(by), 3),
    "release": lambda draw, by: (draw.channel(by, "payee"),),
    "request_close": lambda draw, by: (draw.channel(by, "payer"),),
    "close": lambda draw, by: (draw.channel(by, "payer"),),
    "bond": lambda draw, by: (draw.of(by, "available"),),
    "unbond": lambda draw, by: (draw.of(by, "staked"),),
    "withdraw": lambda draw, by: (),
    "slash_equivocation": lambda draw, by: (draw.name(), draw.number(20), draw.number(5) > 0),
    "slash": lambda draw, by: (draw.name(), draw.minted(), draw.name(), draw.number(20)),
    "commit": lambda draw, by: (draw.number(EPOCHS), draw.payload()),
    "reveal": lambda draw, by: (draw.number(EPOCHS), draw.payload()),
    "end_commits": lambda draw, by: (draw.number(EPOCHS),),
    "emit": lambda draw, by: (draw.number(EPOCHS), *draw.payments()),
}
KINDS = list(_ARGS)


# --- the same on a real ledger ---------------------------------------------------------------------------------------


class Pair:
    """A real ledger and its model."""

    def __init__(self, world: World):
        self.world = world
        self.model = Model(world.issuer.rules, world.is_backed)
        self.ids: list[bytes] = []  # of the channels
        self._revealed: dict[tuple[int, bytes], bytes] = {}
        self._next = 0  # number of the first entry that was not looked at for reveals

    def now(self) -> int:
        return self.world.issuer.now()

    def order(self, operation: Operation) -> object:
        """On the real ledger. Raises what it raises."""
        ledger: Ledger = getattr(self.world, operation.by)
        result = getattr(ledger, operation.kind)(*self._arguments(operation))
        if operation.kind == "open_channel":
            self.ids.append(result.id)
            return None
        return result

    def endow(self) -> None:
        """Everybody gets something: without money most orders are refused for want of it."""
        for name in NAMES:
            operation = Operation("mint", "issuer", (name, 10**12))
            self.model.perform(operation, self.now())
            self.order(operation)

    def differences(self) -> list[str]:
        """Where the two differ, in words."""
        ledger, model = self.world.issuer, self.model
        accounts = {name: ledger.account(key.address) for name, key in KEYS.items()}
        pairs = {name: (accounts[name], model.account(name)) for name in NAMES}
        pairs["supply"] = ledger.supply(), Supply(model.minted, model.burned)
        pairs["sum"] = sum(account.total for account in accounts.values()), model.minted - model.burned
        real, ideal = ledger.channels(), self._channels()
        pairs["number of channels"] = len(real), len(ideal)
        for number, both in enumerate(zip(real, ideal, strict=False)):
            pairs[f"channel {number}"] = tuple(map(_near, both))
        pairs["reveals"] = (
            self._reveals(),
            {(at, KEYS[name].address): data for (at, name), data in model.revealed.items()},
        )
        negative = [name for name, one in accounts.items() if min(getattr(one, bucket) for bucket in BUCKETS) < 0]
        return [f"{name}: {real}, not {ideal}" for name, (real, ideal) in pairs.items() if real != ideal] + negative

    def _reveals(self) -> dict[tuple[int, bytes], bytes]:
        """Payloads by epoch and address."""
        for entry in self.world.issuer.history(first=self._next):
            self._next = entry.number + 1
            if entry.kind == "reveal":
                self._revealed[entry.details["epoch"], entry.by] = bytes.fromhex(entry.details["payload"])
        return self._revealed

    def _channels(self) -> list[Channel]:
        return [
            Channel(id, KEYS[one.payer].address, KEYS[one.payee].address, one.deposit, one.paid, one.closes_at,
                    one.is_closed)
            for id, one in zip(self.ids, self.model.channels, strict=True)
        ]  # fmt: skip

    def _arguments(self, operation: Operation) -> list:
        args = [KEYS[arg].address if isinstance(arg, str) else arg for arg in operation.args]
        match operation.kind:
            case "top_up" | "release" | "request_close" | "close":
                return [self._id(args[0]), *args[1:]]
            case "settle":
                return [[self._voucher(*voucher) for voucher in operation.args]]
            case "slash_equivocation":
                offender, index, is_one = operation.args
                first, second = equivocation(offender, index)
                return [first, second if is_one else first]
            case "slash":
                return [*args[:3], args[3].to_bytes(32)]
            case "commit":
                return [args[0], keccak256(args[1])]
            case "emit":
                return [args[0], {KEYS[name].address: amount for name, amount in args[1:]}]
        return args

    def _id(self, number: int) -> bytes:
        return self.ids[number] if number < len(self.ids) else number.to_bytes(32)

    def _voucher(self, number: int, amount: int, signer: str, is_ours: bool) -> SignedVoucher:
        return self.world.voucher(self._id(number), amount, signer, None if is_ours else bytes(32))


def _near(channel: Channel) -> tuple:
    """All of it, but for the exact time from which it may be closed: clocks may go on between two looks at them."""
    return (channel.id, channel.payer, channel.payee, channel.deposit, channel.paid, channel.closes_at > 0,
            channel.is_closed)  # fmt: skip


class Trial:
    """Random operations, each tried on both, and what was seen."""

    def __init__(self, pair: Pair, random: Random):
        self._pair, self._random = pair, random
        self.counts: Counter[str] = Counter()  # operations, refused, crashes
        self.violations: list[str] = []

    def step(self, kind: str, crashes: bool = False) -> None:
        """One operation. crashes: before it, the process dies at every write of it in turn."""
        pair, model = self._pair, self._pair.model
        self._let_time_pass()
        operation = random_operation(self._random, kind, model)
        if model.is_close_call(operation, pair.now()):
            return
        before = digest(pair.world)
        self.counts["operations"] += 1
        expected = _outcome(lambda: model.perform(operation, pair.now()))
        got = _outcome(lambda: self._order(operation, before if crashes else None))
        if expected != got:
            self.violations.append(f"{operation}: {got}, not {expected}")
        if got is Refused:
            self.counts["refused"] += 1
            if digest(pair.world) != before:
                self.violations.append(f"{operation} was refused and changed something")
        self.violations += [f"after {operation}: {difference}" for difference in pair.differences()]

    def _let_time_pass(self) -> None:
        if self._random.random() < 0.05:
            rules = self._pair.model.rules
            delay_s = self._random.choice((rules.withdraw_delay_s, rules.unbonding_s))
            self._pair.world.advance(delay_s // self._random.choice((1, 2)) + 1)

    def _order(self, operation: Operation, before: bytes | None) -> object:
        """before: what is in the ledger, if its process is to die at every write first."""
        order = partial(self._pair.order, operation)
        if before is None:
            return order()
        world: FragileWorld = self._pair.world
        for statement in count():
            try:
                return world.mortal(statement, order)
            except Died:
                self.counts["crashes"] += 1
                if digest(world) != before:
                    self.violations.append(f"{operation}: dying before statement {statement} left something behind")


def _outcome(order: Callable[[], object]) -> object:
    try:
        return order()
    except (Refused, InvalidRequest):
        return Refused


def digest(world: World) -> bytes:
    """Of all that is in a ledger; of one whose inside cannot be seen, of what it owes to whom."""
    if isinstance(world.issuer, SqliteLedger):
        with world.issuer.reading() as book:
            return hashlib.sha256(repr(list(book.dump())).encode()).digest()
    ledger = world.issuer
    read = [ledger.account(key.address) for key in KEYS.values()], ledger.supply(), ledger.channels()
    return hashlib.sha256(repr(read).encode()).digest()
