"""The ledger that is a contract on an EVM chain: one nano-credit is one gwei of the chain's currency."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from eth_abi.exceptions import EncodingError
from eth_typing import HexStr
from web3 import Web3
from web3.exceptions import BadFunctionCallOutput, Web3Exception

from swarm.errors import InvalidRequest, LedgerRefusal
from swarm.market.channel.vouchers import SignedVoucher
from swarm.market.evm.chain import GWEI, Chain, Terms, answers
from swarm.market.evm.deploying import contract_at, types
from swarm.market.evm.entries import Parties, entries, first_block, postings
from swarm.market.evm.logs import SPAN, Event, Logs, Seen, Topics, word
from swarm.market.ledger.bookkeeping.orders import KINDS
from swarm.market.ledger.ledger import Account, Channel, Entry, Ledger, Posting, Rules, Supply
from swarm.wire.formats.amounts import check_amount
from swarm.wire.formats.eip712 import Value
from swarm.wire.formats.receipts import SignedReceipt
from swarm.wire.identity import ADDRESS_BYTES, Identity

MAX_VOUCHERS = 128  # in one transaction, as the contract has it
MAX_PAYMENTS = 512
MAX_PAYLOAD_BYTES = 4096
_S_BITS = 255  # of a signature's second half as in EIP-2098; above is the recovery id


class EvmLedger(Ledger):
    """In the name of `identity`, whose account on the chain also pays for gas, and for what it mints.

    The book is the contract's log. An entry's number says in which block it is, and where there; an entry of several
    payments or vouchers shows, in the history of one account, those that touch it.
    """

    def __init__(self, web3: Web3, contract: bytes, identity: Identity, terms: Terms | None = None, span: int = SPAN):
        """contract: its address. span: blocks that the node answers for at once, when it is asked for logs.

        Raises InvalidRequest if it is not a ledger of this software, PeerUnreachable.
        """
        self.address = identity.address
        self._chain = Chain(web3, identity, terms or Terms())
        if span < 1:
            raise InvalidRequest(f"logs are asked for in spans of at least 1 block, not {span}")
        with answers():
            self._contract, self._target = contract_at(web3, contract), contract
            try:
                self.id, issuer, arbiter, figures, its_types, created = self._contract.functions.about().call()
            except BadFunctionCallOutput as error:
                raise InvalidRequest(f"the contract 0x{contract.hex()} is no ledger") from error
        if tuple(its_types) != types():
            raise InvalidRequest(f"the ledger 0x{contract.hex()} was made for other receipts than this software's")
        self.issuer, self.arbiter, self.rules = _bytes(issuer), _bytes(arbiter), Rules(*figures)
        self._logs = Logs(self._contract, created, span)
        self._seen: dict[Topics, Seen] = {}
        self._lock = threading.Lock()

    def shut(self) -> None:
        """Nothing is held open: the connection to the chain is whoever made it's."""

    # --- reading -----------------------------------------------------------------------------------------------------

    def now(self) -> int:
        with answers():
            return self._chain.web3.eth.get_block("latest")["timestamp"]

    def account(self, address: bytes | None = None) -> Account:
        return Account(*self._read("account", _checksummed(address or self.address)))

    def supply(self) -> Supply:
        return Supply(*self._read("supply"))

    def channel(self, channel: bytes) -> Channel | None:
        if len(channel) != 32:
            return None
        payer, payee, *rest = self._read("channel", channel)
        return Channel(channel, _bytes(payer), _bytes(payee), *rest) if int(payer, 16) else None

    def channels(self, payer: bytes | None = None, payee: bytes | None = None) -> list[Channel]:
        parties = (None if party is None else (word(party),) for party in (payer, payee))
        opened = self._all_seen((self._logs.topic("OpenChannel"),), *parties)
        found = (self.channel(event.address("channel")) for event in opened)
        return [channel for channel in found if channel]

    def history(self, address: bytes | None = None, first: int = 0) -> Iterator[Entry]:
        times: dict[int, int] = {}

        def time_s(block: int) -> int:
            if block not in times:
                times[block] = self._chain.web3.eth.get_block(block)["timestamp"]
            return times[block]

        parties = Parties(self.issuer, self.arbiter, self.rules)
        events = self._logs.read(*self._questions(address), first=first_block(first))
        with answers():
            yield from (entry for entry in entries(events, parties, time_s) if entry.number >= first)

    def _questions(self, address: bytes | None) -> list[Topics]:
        """An event's first two members are the accounts that it touches; but not issuer and arbiter, who are known."""
        if address is None:
            return [()]
        questions: list[Topics] = [(None, (word(address),)), (None, None, (word(address),))]
        if address == self.issuer:
            questions.append(((self._logs.topic("Emit"), self._logs.topic("EndCommits")),))
        if address == self.arbiter:
            questions.append(((self._logs.topic("Slash"),),))
        return questions

    def _all_seen(self, *topics: tuple[bytes, ...] | None) -> list[Event]:
        with self._lock:
            seen = self._seen.setdefault(topics, Seen(self._logs, topics))
        with answers():
            return seen.read()

    def _read(self, name: str, *arguments: object) -> Sequence[Any]:
        """What the contract's view `name` gives, of the types that its source says."""
        with answers():
            values: Sequence[Any] = self._contract.functions[name](*arguments).call()
            return values

    # --- operations that are not as everywhere -----------------------------------------------------------------------

    def mint(self, to: bytes, amount: int) -> None:
        """Paid in from the account on the chain."""
        self._send("mint", _checksummed(to), value=check_amount(amount))

    def redeem(self, amount: int) -> None:
        self._send("redeem", check_amount(amount))

    def withdraw(self) -> int:
        """Nothing is sent, and no gas paid, if there is nothing to take."""
        with answers():
            is_ready = self._contract.functions.withdraw().call({"from": _checksummed(self.address)})
        return super().withdraw() if is_ready else 0

    def reveal(self, epoch: int, payload: bytes) -> None:
        if len(payload) > MAX_PAYLOAD_BYTES:
            raise InvalidRequest(f"a payload of {len(payload)} bytes; at most {MAX_PAYLOAD_BYTES}")
        super().reveal(epoch, payload)

    def emit(self, epoch: int, payments: Mapping[bytes, int]) -> None:
        """Paid in from the issuer's account on the chain."""
        if len(payments) > MAX_PAYMENTS:
            raise InvalidRequest(f"{len(payments)} payments in one epoch; at most {MAX_PAYMENTS}")
        lines = [(_checksummed(to), check_amount(amount)) for to, amount in payments.items()]
        self._send("emit", check_amount(epoch), lines, value=sum(payments.values()))

    # --- how it is ordered -------------------------------------------------------------------------------------------

    def _settle(self, vouchers: Sequence[SignedVoucher]) -> list[Posting]:
        if not 0 < len(vouchers) <= MAX_VOUCHERS:
            raise InvalidRequest(f"{len(vouchers)} vouchers to settle at once, which takes 1 to {MAX_VOUCHERS}")
        for ledger in {signed.voucher.ledger for signed in vouchers} - {self.id}:
            raise LedgerRefusal(f"a voucher for ledger {ledger.hex()}; this is {self.id.hex()}")
        return self._send("settle", [_words(one) for one in vouchers])

    def _slash_equivocation(self, first: SignedReceipt, second: SignedReceipt) -> list[Posting]:
        signatures = [*_halves(first.signature), *_halves(second.signature)]
        return self._send("slash_equivocation", first.receipt.words, second.receipt.words, signatures)

    def _order(self, kind: str, *values: Value) -> list[Posting]:
        members = zip(KINDS[kind], values, strict=True)
        return self._send(kind, *(_ARGUMENTS.get(type_, _as_is)(value) for (type_, _), value in members))

    def _send(self, name: str, *arguments: object, value: int = 0) -> list[Posting]:
        """Send it; returns what it moved. value: nano-credits to pay in."""
        try:
            data = Web3.to_bytes(hexstr=self._contract.encode_abi(name, args=arguments))
        except (Web3Exception, EncodingError) as error:
            raise InvalidRequest(f"{name} does not take these arguments: {error!s:.300}") from error
        events = self._logs.decode(self._chain.send(self._target, data, value * GWEI)["logs"])
        return [line for event in events for line in postings(event, self.rules)]


def _words(signed: SignedVoucher) -> tuple[bytes | int, ...]:
    voucher = signed.voucher
    return voucher.channel, voucher.amount, voucher.receipt, *_halves(signed.signature)


def _halves(signature: bytes) -> tuple[int, int]:
    """As in EIP-2098, https://eips.ethereum.org/EIPS/eip-2098."""
    return int.from_bytes(signature[:32]), signature[64] << _S_BITS | int.from_bytes(signature[32:64])


def _checksummed(address: object) -> str:
    """Raises InvalidRequest if it is no address."""
    if not isinstance(address, bytes) or len(address) != ADDRESS_BYTES:
        raise InvalidRequest(f"an address has {ADDRESS_BYTES} bytes, and is not {address!r:.80}")
    return Web3.to_checksum_address(address)


def _bytes(address: str) -> bytes:
    return Web3.to_bytes(hexstr=HexStr(address))


def _as_is(value: Value) -> Value:
    return value


# How what an order holds becomes what the contract takes, by its type.
_ARGUMENTS: Mapping[str, Callable[[Value], object]] = {"address": _checksummed, "uint64": check_amount}
