"""What is a chain's own: ether behind every credit, signatures that a contract checks, gas, nonces, and the node."""

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
import vyper
from eth_account import Account as Wallet
from web3 import HTTPProvider, Web3

from chains import alone, new_chain, shared_chain
from helpers import wait_until
from ledgers import KEYS, RULES, World, equivocation, evm
from swarm.cli.ledger import verbs
from swarm.errors import InvalidRequest, LedgerRefusal, PeerUnreachable
from swarm.market.channel.vouchers import SignedVoucher
from swarm.market.evm.artifact import load_contract
from swarm.market.evm.chain import GWEI, Terms
from swarm.market.evm.compile import compiled
from swarm.market.evm.deploying import deploy
from swarm.market.evm.evm_ledger import EvmLedger
from swarm.market.evm.transaction import Transaction
from swarm.market.ledger.ledger import Account
from swarm.market.ledger.opening import open_ledger
from swarm.wire.formats.amounts import CREDIT
from swarm.wire.identity import Identity, keccak256

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141  # of secp256k1

# Redeems, and when it is paid, redeems again.
GREEDY = """
#pragma version 0.4.3
interface Ledger:
    def redeem(amount: uint256): nonpayable
    def burn(amount: uint256): nonpayable

ledger: Ledger
wants_to_redeem: bool

@deploy
def __init__(ledger: address):
    self.ledger = Ledger(ledger)

@external
def redeem(amount: uint256):
    self.wants_to_redeem = True
    extcall self.ledger.redeem(amount)

@external
@payable
def __default__():
    if self.wants_to_redeem:
        self.wants_to_redeem = False
        extcall self.ledger.redeem(1)
"""


@pytest.fixture
def world(tmp_path):
    """Alice and bob have 100 credits each."""
    with evm(tmp_path, RULES) as world:
        for holder in (world.alice, world.bob):
            world.issuer.mint(holder.address, 100 * CREDIT)
        yield world


def chain() -> Web3:
    return shared_chain(*KEYS.values())


def contract(ledger: EvmLedger) -> bytes:
    return ledger._target


def ether(address: bytes) -> int:
    return chain().eth.get_balance(Web3.to_checksum_address(address))


def held(world: World) -> int:
    """Nano-credits in ether that the contract has."""
    return ether(contract(world.alice)) // GWEI


def call(ledger: EvmLedger, name: str, *arguments: object, wei: int = 0) -> None:
    """Without what the library checks before it sends."""
    data = ledger._contract.encode_abi(name, args=arguments)
    ledger._chain.send(contract(ledger), Web3.to_bytes(hexstr=data), wei)


# --- ether ------------------------------------------------------------------------------------------------------------


def test_every_credit_is_a_gwei_that_the_contract_holds(world):
    assert held(world) == 200 * CREDIT
    world.issuer.emit(1, {world.carol.address: 5, world.bob.address: 6})
    assert held(world) == 200 * CREDIT + 11
    world.alice.burn(7)
    assert held(world) == 200 * CREDIT + 11  # what is burned stays there for ever
    before = ether(world.alice.address)
    world.alice.redeem(90 * CREDIT)
    assert held(world) == 110 * CREDIT + 11
    assert 0 < before + 90 * CREDIT * GWEI - ether(world.alice.address) < 10**15  # gas
    assert world.alice.supply().burned == 90 * CREDIT + 7
    with pytest.raises(LedgerRefusal, match="not so much available"):
        world.alice.redeem(10 * CREDIT)


def test_credits_are_redeemed_by_a_command(world, monkeypatch, capsys):
    monkeypatch.setattr(verbs, "opened", lambda args: world.alice)
    assert verbs.main(["redeem", "0.5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["available"] == 100 * CREDIT - CREDIT // 2
    assert held(world) == 200 * CREDIT - CREDIT // 2


@pytest.mark.parametrize("wei", [1, GWEI - 1, GWEI + 1])
def test_what_is_no_whole_number_of_gwei_is_not_taken(world, wei):
    with pytest.raises(LedgerRefusal, match="gwei"):
        call(world.alice, "mint", Web3.to_checksum_address(world.alice.address), wei=wei)


@pytest.mark.parametrize("paid", [10, 12])
def test_rewards_are_paid_in_to_the_last_gwei(world, paid):
    payments = [(Web3.to_checksum_address(world.carol.address), 11)]
    with pytest.raises(LedgerRefusal, match="sum of the payments"):
        call(world.issuer, "emit", 1, payments, wei=paid * GWEI)


def test_an_account_that_is_a_contract_does_not_redeem_while_it_redeems(world):
    web3 = chain()
    output = vyper.compile_code(GREEDY, output_formats=["abi", "bytecode"])
    code = web3.eth.contract(abi=output["abi"], bytecode=output["bytecode"])
    data = code.constructor(Web3.to_checksum_address(contract(world.alice))).data_in_transaction
    receipt = world.alice._chain.send(b"", Web3.to_bytes(hexstr=data))
    greedy = Web3.to_bytes(hexstr=receipt["contractAddress"])
    world.issuer.mint(greedy, 10)
    order = Web3.to_bytes(hexstr=web3.eth.contract(abi=output["abi"]).encode_abi("redeem", args=[5]))
    with pytest.raises(LedgerRefusal, match="own code did not take"):
        world.alice._chain.send(greedy, order)
    assert world.alice.account(greedy) == Account(10)
    assert ether(greedy) == 0


# --- signatures -------------------------------------------------------------------------------------------------------


def test_the_contracts_id_is_that_of_chain_and_address(world):
    words = chain().eth.chain_id.to_bytes(32) + contract(world.alice).rjust(32, b"\0")
    assert world.alice.id == keccak256(words)


def test_a_voucher_for_one_contract_is_worth_nothing_in_another(world, tmp_path):
    channel = world.alice.open_channel(world.bob.address, 1_000)
    voucher = world.voucher(channel, 500, ledger=os.urandom(32)).voucher
    signed = SignedVoucher(voucher, KEYS["alice"].sign_hash(voucher.hash), world.alice.address)
    with pytest.raises(LedgerRefusal, match="a voucher for ledger"):
        world.bob.settle([signed])
    words = channel.id, 500, voucher.receipt, *halves(signed.signature)
    with pytest.raises(LedgerRefusal, match="not signed by whom it names"):
        call(world.bob, "settle", [words])


def halves(signature: bytes) -> tuple[int, int]:
    return int.from_bytes(signature[:32]), signature[64] << 255 | int.from_bytes(signature[32:64])


def test_the_other_form_of_a_signature_is_refused(world):
    channel = world.alice.open_channel(world.bob.address, 1_000)
    signed = world.voucher(channel, 500)
    r, vs = halves(signed.signature)
    # The other form's s is above 2^255, where this encoding has the recovery id, or just below it.
    high = ORDER - (vs & (2**255 - 1)) ^ (vs >> 255 ^ 1) << 255
    for other in ((r, high), (r, 2**255 - 1), (0, vs), (r, 0)):
        with pytest.raises(LedgerRefusal, match=r"malformed signature|not signed"):
            call(world.bob, "settle", [(channel.id, 500, signed.voucher.receipt, *other)])
    assert world.bob.settle([signed]) == [500]


def test_receipts_are_compared_and_their_signers_found_on_the_chain(world):
    world.bob.bond(1_000)
    first, second = equivocation("bob")
    words, signatures = (first.receipt.words, second.receipt.words), (*halves(first.signature),
                                                                      *halves(second.signature))  # fmt: skip
    swapped = (*signatures[2:], *signatures[:2])
    for bad_words, bad_signatures, match in (
        (words, swapped, "not signed by whom it names"),
        ((words[0], words[0]), signatures, "no equivocation"),
        ((words[0][:-32], words[1]), signatures, "not the words of a receipt"),
        ((words[0] + bytes(32), words[1] + bytes(32)), signatures, "not the words of a receipt"),
        ((words[0], words[1][:-1] + b"\7"), signatures, "not signed|malformed"),
    ):
        with pytest.raises(LedgerRefusal, match=match):
            call(world.carol, "slash_equivocation", *bad_words, bad_signatures)
    assert world.carol.slash_equivocation(first, second) == 1_000


def test_a_peer_is_not_slashed_for_what_another_signed(world):
    """Alice signs two receipts that name bob."""
    world.bob.bond(1_000)
    pair = equivocation("bob")
    signatures = [half for signed in pair for half in halves(KEYS["alice"].sign_hash(signed.receipt.hash))]
    with pytest.raises(LedgerRefusal, match="not signed by whom it names"):
        call(world.carol, "slash_equivocation", *(signed.receipt.words for signed in pair), signatures)


def test_only_so_many_parts_of_a_stake_unbond_at_a_time(world):
    world.bob.bond(1_000)
    for _ in range(8):
        world.bob.unbond(10)
    with pytest.raises(LedgerRefusal, match="withdraw those that are ready"):
        world.bob.unbond(10)
    world.advance(RULES.unbonding_s + 60)
    assert world.bob.withdraw() == 80
    world.bob.unbond(10)


# --- transactions -----------------------------------------------------------------------------------------------------


def test_a_transaction_is_signed_as_wallets_do_it():
    """eth-account encodes and signs without any of this library's code."""
    identity, to = Identity(bytes(range(1, 33))), bytes(range(20))
    ours = Transaction(5, 6, 7, 80, 90_000, to, 11, b"data").sign(identity)
    theirs = Wallet.sign_transaction(
        {"chainId": 5, "nonce": 6, "maxPriorityFeePerGas": 7, "maxFeePerGas": 80, "gas": 90_000,
         "to": Web3.to_checksum_address(to), "value": 11, "data": b"data", "type": 2},
        bytes(range(1, 33)),
    )  # fmt: skip
    assert ours == theirs.raw_transaction


def test_a_refusal_costs_nothing(world):
    before = ether(world.carol.address)
    with pytest.raises(LedgerRefusal):
        world.carol.transfer(world.alice.address, 1)
    assert world.carol.withdraw() == 0
    assert ether(world.carol.address) == before


def test_orders_from_many_threads_are_all_done(world):
    other = EvmLedger(chain(), contract(world.alice), KEYS["alice"])
    with ThreadPoolExecutor(8) as pool:
        for view in (world.alice, other) * 8:
            pool.submit(view.transfer, world.carol.address, 1)
    assert world.carol.account().available == 16


@pytest.fixture
def slow_chain():
    """Where blocks are made when the test says so; alice has 100 nano-credits, and a channel of 10 to bob."""
    web3 = new_chain(KEYS.values())
    address = deploy(web3, KEYS["issuer"], RULES, KEYS["issuer"].address)
    alice, bob = (EvmLedger(web3, address, KEYS[name]) for name in ("alice", "bob"))
    alice.mint(alice.address, 110)
    channel = alice.open_channel(bob.address, 10)
    web3.provider.ethereum_tester.disable_auto_mine_transactions()
    return alice, bob, channel.id, web3


def both(web3: Web3, *orders: Callable[[], object]) -> list[BaseException | None]:
    """What becomes of orders that wait for the same block."""
    with ThreadPoolExecutor(2) as pool:
        futures = []
        for order in orders:
            futures.append(pool.submit(order))
            wait(futures[-1:], timeout=1)  # it is sent, and waits; if not yet, no harm is done
        with alone(web3):
            web3.provider.ethereum_tester.enable_auto_mine_transactions()
        return [future.exception(30) for future in futures]


def test_two_orders_in_one_block_are_never_taken_for_one(slow_chain):
    alice, bob, _, web3 = slow_chain
    outcomes = both(web3, *[lambda: alice.transfer(bob.address, 60)] * 2)
    assert outcomes.count(None) * 60 == alice.account(bob.address).available == 60
    assert isinstance(outcomes[0] or outcomes[1], LedgerRefusal | PeerUnreachable)


def test_what_fails_because_of_what_came_first_is_refused_in_plain_words(slow_chain):
    alice, bob, channel, web3 = slow_chain
    released, topped_up = both(web3, lambda: bob.release(channel), lambda: alice.top_up(channel, 5))
    assert alice.channel(channel).is_closed
    assert released is None
    assert topped_up is None or "the channel is closed" in str(topped_up)
    assert alice.account() == Account(110)


def test_an_order_is_done_when_it_is_confirmed(slow_chain):
    alice, bob, _, web3 = slow_chain
    careful = EvmLedger(web3, contract(alice), KEYS["alice"], Terms(confirmations=2))
    web3.provider.ethereum_tester.enable_auto_mine_transactions()
    with ThreadPoolExecutor(1) as pool:
        order = pool.submit(careful.transfer, bob.address, 1)
        assert wait_until(lambda: bob.account().available == 1, 10)
        assert not wait([order], timeout=1).done
        with alone(web3):
            web3.provider.ethereum_tester.mine_blocks(2)
        order.result(10)


def test_arguments_that_do_not_fit_are_refused(world):
    for order in (lambda: world.alice.release(b"short"), lambda: world.alice.commit(1, b"short"),
                  lambda: world.alice.transfer(b"short", 1), lambda: world.alice.commit(-1, bytes(32))):  # fmt: skip
        with pytest.raises(InvalidRequest):
            order()


def test_who_has_nothing_on_the_chain_is_told_so(world):
    poor = EvmLedger(chain(), contract(world.alice), Identity())
    for order in (lambda: poor.mint(poor.address, 1), lambda: poor.commit(1, os.urandom(32))):
        with pytest.raises(LedgerRefusal, match="has 0 gwei on the chain"):
            order()


def test_no_more_is_paid_for_gas_than_is_allowed(world):
    thrifty = EvmLedger(chain(), contract(world.alice), KEYS["alice"], Terms(max_gas_price=1))
    with pytest.raises(LedgerRefusal, match="gas costs"):
        thrifty.burn(1)


# --- the book, the node, the file -------------------------------------------------------------------------------------


def test_logs_are_read_in_ranges_of_blocks(world):
    world.alice.open_channel(world.bob.address, 1_000)
    short = EvmLedger(chain(), contract(world.alice), KEYS["alice"], span=1)
    assert list(short.history()) == list(world.alice.history())
    assert short.channels() == world.alice.channels()


def test_several_vouchers_are_one_entry(world):
    channels = [world.alice.open_channel(world.bob.address, 1_000) for _ in range(2)]
    world.bob.settle([world.voucher(channel, 100) for channel in channels])
    last = list(world.bob.history())[-1]
    assert (last.kind, last.by, len(last.details["all"])) == ("settle", world.bob.address, 2)
    assert sum(line.amount for line in last.postings if line.bucket == "escrowed") == -200


def test_what_is_no_ledger_is_not_opened(world):
    with pytest.raises(InvalidRequest, match="no contract at"):
        EvmLedger(chain(), os.urandom(20), KEYS["alice"])


def test_a_contract_on_another_chain_has_another_id():
    one, other = new_chain(KEYS.values()), new_chain(KEYS.values())
    other.provider.ethereum_tester.backend.chain.chain_id = 7
    ids = set()
    for web3 in (one, other):
        address = deploy(web3, KEYS["issuer"], RULES, KEYS["issuer"].address)
        ids.add(EvmLedger(web3, address, KEYS["alice"]).id)
    assert len(ids) == 2


def test_a_node_that_is_not_there_is_said_to_be_so(tmp_path):
    file = tmp_path / "chain.json"
    file.write_text(json.dumps({"rpc": "http://127.0.0.1:1", "contract": "0x" + "12" * 20}))
    with pytest.raises(PeerUnreachable, match="node does not answer"):
        open_ledger(f"evm:{file}", KEYS["alice"])
    with pytest.raises(PeerUnreachable):
        deploy(Web3(HTTPProvider("http://127.0.0.1:1")), KEYS["alice"], RULES, bytes(20))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"rpc": "http://x"}', '{"rpc": 1, "contract": "0x"}', '{"rpc": "x", "contract": "0x12"}',
     '{"rpc": "x", "contract": "0x", "gass": 1}', '{"rpc": "x", "contract": "0x", "confirmations": -1}'],
)  # fmt: skip
def test_a_file_that_names_no_ledger_is_refused(text, tmp_path):
    file = tmp_path / "chain.json"
    file.write_text(text)
    with pytest.raises(InvalidRequest):
        open_ledger(f"evm:{file}", KEYS["alice"])


def test_the_committed_bytecode_is_the_sources():
    assert load_contract() == json.loads(json.dumps(compiled())), "run `make contract`"
