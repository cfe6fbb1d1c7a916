"""What the contract costs: gas of every operation, on a chain in this process.

    python benchmarks/gas.py

Gas does not depend on the machine. Accounts are as they mostly are: used before, so that their storage is not new.
"""

import harness.needs  # noqa: F401 - first: it says what is missing

import os
from collections.abc import Callable, Iterator
from dataclasses import replace

from web3 import Web3

from harness.chains import advance, new_chain
from harness.report import Report, make_parser, print_table
from swarm.market.channel.vouchers import SignedVoucher, Voucher
from swarm.market.evm.artifact import load_contract
from swarm.market.evm.deploying import deploy
from swarm.market.evm.evm_ledger import EvmLedger
from swarm.market.ledger.ledger import Rules
from swarm.wire.formats.amounts import CREDIT
from swarm.wire.formats.receipts import Receipt, SignedReceipt, Terms
from swarm.wire.identity import Identity, keccak256
from swarm.wire.session_id import new_session_id

BATCHES = (1, 10, 50)
CLIENTS = 5  # that a batch's channels belong to
HASHES = ("inputs", "context", "outputs", "sketch", "upstream", "previous")


class Meter:
    """A chain, and what was paid for on it."""

    def __init__(self, rules: Rules):
        self.issuer, self.server, *self.clients = (Identity() for _ in range(2 + CLIENTS))
        self.web3 = new_chain([self.issuer, self.server, *self.clients])
        self.contract = deploy(self.web3, self.issuer, rules, self.issuer.address)
        self.rows: list[dict[str, object]] = []
        self._note("deploy", 1)

    def view(self, identity: Identity) -> EvmLedger:
        return EvmLedger(self.web3, self.contract, identity)

    def measure(self, operation: str, do: Callable[[], object], parts: int = 1) -> None:
        """do: sends one transaction. parts: what it does so many of."""
        do()
        self._note(operation, parts)

    def _note(self, operation: str, parts: int) -> None:
        block = self.web3.eth.get_block("latest")
        gas = self.web3.eth.get_transaction_receipt(block["transactions"][0])["gasUsed"]
        self.rows.append({"operation": operation, "gas": gas, "each": round(gas / parts)})


def conflicting(identity: Identity) -> tuple[SignedReceipt, SignedReceipt]:
    """Two receipts with digests as long as real ones."""
    weights, quote = os.urandom(32), os.urandom(32)
    terms = Terms(
        new_session_id(), 1, identity.address, 4, 8, weights, "int4/bfloat16", "cpu-1", 1, quote
    )  # fmt: skip
    numbers = {name: 1 for name in Receipt.__dataclass_fields__ if name not in ("terms", *HASHES)}
    receipt = Receipt(terms, **numbers, **{name: os.urandom(32) for name in HASHES})
    other = replace(receipt, outputs=os.urandom(32), sketch=os.urandom(32), time_ms=2)
    return receipt.sign(identity), other.sign(identity)


def vouchers(meter: Meter, channels: list[bytes], amount: int) -> Iterator[SignedVoucher]:
    """Over `amount` in all, each on a channel of another client."""
    ledger = meter.view(meter.server).id
    for number, channel in enumerate(channels):
        yield Voucher(ledger, channel, amount, os.urandom(32)).sign(meter.clients[number % CLIENTS])


def measure_channels(meter: Meter) -> None:
    server, views = meter.view(meter.server), [meter.view(client) for client in meter.clients]
    meter.measure("mint, a new account", lambda: views[0].mint(meter.clients[0].address, 100 * CREDIT))
    meter.measure("mint", lambda: views[0].mint(meter.clients[0].address, 100 * CREDIT))
    for view in (*views[1:], server):
        view.mint(view.address, 100 * CREDIT)
    meter.measure("transfer", lambda: views[0].transfer(server.address, CREDIT))
    meter.measure("redeem", lambda: views[0].redeem(CREDIT))
    channels = []
    for number in range(max(BATCHES)):
        channels.append(views[number % CLIENTS].open_channel(server.address, CREDIT).id)
    meter._note("open_channel", 1)
    meter.measure("top_up", lambda: views[0].top_up(channels[0], CREDIT))
    meter.measure("settle, a channel's first", lambda: server.settle(list(vouchers(meter, channels[:1], 1_000))))
    server.settle(list(vouchers(meter, channels, 2_000)))
    for number, batch in enumerate(BATCHES, 3):
        signed = list(vouchers(meter, channels[:batch], number * 1_000))
        meter.measure(f"settle, {batch} at once", lambda signed=signed: server.settle(signed), batch)
    meter.measure("release", lambda: server.release(channels[0]))
    meter.measure("request_close", lambda: views[1].request_close(channels[1]))
    advance(meter.web3, server.rules.withdraw_delay_s)
    meter.measure("close", lambda: views[1].close(channels[1]))


def measure_stake(meter: Meter) -> None:
    issuer, server, reporter = meter.view(meter.issuer), meter.view(meter.server), meter.view(meter.clients[0])
    meter.measure("bond", lambda: server.bond(10 * CREDIT))
    meter.measure("unbond", lambda: server.unbond(CREDIT))
    advance(meter.web3, server.rules.unbonding_s)
    meter.measure("withdraw", server.withdraw)
    meter.measure("slash", lambda: issuer.slash(server.address, CREDIT, reporter.address, os.urandom(32)))
    meter.measure("slash_equivocation", lambda: reporter.slash_equivocation(*conflicting(meter.server)))


def measure_epochs(meter: Meter) -> None:
    issuer, server, payload = meter.view(meter.issuer), meter.view(meter.server), os.urandom(96)
    meter.measure("commit", lambda: server.commit(1, keccak256(payload)))
    meter.measure("end_commits", lambda: issuer.end_commits(1))
    meter.measure("reveal, 96 bytes", lambda: server.reveal(1, payload))
    addresses = [client.address for client in meter.clients]
    meter.measure("emit, to 5", lambda: issuer.emit(1, dict.fromkeys(addresses, CREDIT)), len(addresses))


def main() -> None:
    parser = make_parser(__doc__)
    args = parser.parse_args()
    report = Report(args)
    meter = Meter(Rules(burn_ppm=10_000))
    for measure in (measure_channels, measure_stake, measure_epochs):
        measure(meter)
    print_table(meter.rows)
    contract = load_contract()
    bytes_of_code = len(meter.web3.eth.get_code(Web3.to_checksum_address(meter.contract)))
    print(f"{bytes_of_code} bytes of code, {contract['compiler']}")
    report.save("gas", {"compiler": contract["compiler"], "code bytes": bytes_of_code, "operations": meter.rows})


if __name__ == "__main__":
    main()
