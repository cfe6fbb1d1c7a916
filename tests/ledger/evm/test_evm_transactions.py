"""The ledger that is a contract on an EVM chain: transactions, logs, and what is no ledger."""

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
from eth_account import Account as Wallet
from web3 import HTTPProvider, Web3

from evm_worlds import chain, contract, ether
from harness.chains import alone, new_chain
from helpers import wait_until
from ledgers import KEYS, RULES
from swarm.errors import InvalidRequest, LedgerRefusal, PeerUnreachable
from swarm.market.evm.artifact import load_contract
from swarm.market.evm.chain import Terms
from swarm.market.evm.compile import compiled
from swarm.market.evm.deploying import deploy
from swarm.market.evm.evm_ledger import EvmLedger
from swarm.market.evm.transaction import Transaction
from swarm.market.ledger.ledger import Account
from swarm.market.ledger.opening import open_ledger
from swarm.wire.identity import Identity

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
