"""Real servers that are paid: every nano-credit that a client spends is one that its servers earn."""

import time

import pytest

import swarm
from swarm.economy.amounts import CREDIT
from swarm.economy.books import open_ledger
from swarm.economy.ledger import Ledger
from swarm.route.local import client_identity
from swarm.wire.identity import address_of

PROMPT = "The capital of France is"
BLOCKS = ("0:10", "10:20", "20:30")
PRICE, PREFILL = 1000, 50


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A ledger in a folder, seen by the client, who made it and so can mint."""
    folder = tmp_path_factory.mktemp("ledger")
    ledger = open_ledger(str(folder), client_identity())
    ledger.mint(client_identity().address, 10 * CREDIT)
    yield folder, ledger
    ledger.shut()


@pytest.fixture(scope="module")
def paid(book):
    folder, _ = book
    options = {"dtype": "float32", "threads": 1, "ledger": folder, "price": PRICE, "stake": "1", "settle_every": 0.5}
    with swarm.LocalSwarm("demo", BLOCKS, **options) as local:
        yield local


def settled(ledger: Ledger, amounts: dict[str, int]) -> bool:
    """Whether peers have these amounts; looked for a while, since they settle now and then."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if all(ledger.account(address_of(peer)).available == amount for peer, amount in amounts.items()):
            return True
        time.sleep(0.1)
    return False


def test_every_hop_gets_blocks_times_tokens_times_price(paid, book):
    folder, ledger = book
    with swarm.Client("demo", paid.peers, ledger=str(folder)) as client:
        before = {server.peer_id: ledger.account(address_of(server.peer_id)).available for server in paid.servers}
        generation = client.generate(PROMPT, max_new_tokens=200, ignore_eos=True)
    each = 10 * (len(generation.prompt_token_ids) * PREFILL + 199 * PRICE)
    assert [payment.amount for payment in generation.payments] == [each] * 3
    assert generation.cost == 3 * each
    assert settled(ledger, {peer: amount + each for peer, amount in before.items()})
