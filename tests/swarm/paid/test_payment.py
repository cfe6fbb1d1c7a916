"""Real servers that are paid: every nano-credit that a client spends is one that its servers earn."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import swarm
from helpers import wait_until
from swarm.cli.ledger.bill import own_payments, unlisted_amount
from swarm.errors import PaymentRequired
from swarm.home import client_identity
from swarm.market.ledger.audit import audit
from swarm.market.ledger.ledger import Ledger
from swarm.wire.identity import address_of

PROMPT = "The capital of France is"
BLOCKS = ("0:10", "10:20", "20:30")
PRICE, PREFILL = 1000, 50


@pytest.fixture(scope="module")
def paid(book):
    folder, _ = book
    options = {"quant": "int4", "threads": 1, "ledger": folder, "price": PRICE, "stake": "1", "settle_every": 0.5}
    with swarm.LocalSwarm("demo", BLOCKS, **options) as local:
        yield local


def settled(ledger: Ledger, amounts: dict[str, int]) -> bool:
    """Whether peers have these amounts; looked for a while, since they settle now and then."""
    return wait_until(
        lambda: all(ledger.account(address_of(peer)).available == amount for peer, amount in amounts.items()), 20
    )


def test_every_hop_gets_blocks_times_tokens_times_price(paid, book):
    folder, ledger = book
    with swarm.Client("demo", paid.peers, ledger=str(folder)) as client:
        before = {server.peer_id: ledger.account(address_of(server.peer_id)).available for server in paid.servers}
        generation = client.generate(PROMPT, max_new_tokens=200, ignore_eos=True)
    each = 10 * (len(generation.prompt_token_ids) * PREFILL + 199 * PRICE)
    assert [payment.amount for payment in generation.payments] == [each] * 3
    assert generation.cost == 3 * each
    assert settled(ledger, {peer: amount + each for peer, amount in before.items()})


def test_a_bill_names_every_token_and_its_settlement(paid, book):
    folder, ledger = book
    with swarm.Client("demo", paid.peers, ledger=str(folder)) as client:
        generation = client.generate(PROMPT, max_new_tokens=20, ignore_eos=True)
    session = generation.receipts[0].receipt.terms.session

    def own() -> list:
        return [payment for payment in own_payments(ledger) if payment.bill.session == session]

    assert wait_until(lambda: all(payment.settled_in is not None for payment in own()), 20)
    prompt = len(generation.prompt_token_ids)
    for payment in own():
        costs = list(payment.tokens())
        assert [cost.position for cost in costs] == list(range(prompt + 19))
        assert [cost.amount for cost in costs] == [10 * PREFILL] * prompt + [10 * PRICE] * 19
        assert sum(cost.amount for cost in costs) == payment.bill.amount
        assert not payment.problems
        assert next(ledger.history(first=payment.settled_in)).kind == "settle"
    assert audit(ledger).holds
    result = json.loads(_run("ledger", "bill", session.hex()[:16], "--json", "--ledger", str(folder)).stdout)
    assert sum(one["amount"] for one in result) == generation.cost
    lines = _run("ledger", "bill", session.hex(), "--csv", "--ledger", str(folder)).stdout.splitlines()
    assert len(lines) == 1 + 3 * (prompt + 19)
    assert wait_until(
        lambda: not unlisted_amount(ledger, own_payments(ledger)), 20
    )  # nothing is paid but what is billed


def test_the_only_token_of_a_prompt_costs_a_prompts_price(paid, book):
    with swarm.Client("demo", paid.peers, ledger=str(book[0])) as client:
        generation = client.generate([5], max_new_tokens=3, ignore_eos=True)
    assert [(one.prefill_tokens, one.decode_tokens) for one in generation.payments] == [(1, 2)] * 3
    assert generation.cost == 30 * (PREFILL + 2 * PRICE)
    assert [one.receipt.prefill for one in generation.receipts if one.receipt.position == 0] == [1] * 3


def test_a_peer_has_one_name_in_the_bill_in_earnings_and_for_the_ledger(paid, book):
    folder, _ = book
    with swarm.Client("demo", paid.peers, ledger=str(folder)) as client:
        route = client.generate(PROMPT, max_new_tokens=4, ignore_eos=True).route
    bill = _run("ledger", "bill", "--ledger", str(folder)).stdout
    for server in paid.servers:
        name = server.peer_id[-8:]
        assert name in bill
        assert name in _run("earnings", "--server", name, "--ledger", str(folder), home=server.home).stdout
        shown = json.loads(_run("ledger", "balance", name, "--json", "--ledger", str(folder)).stdout)
        assert bytes.fromhex(shown["address"][2:]) == address_of(server.peer_id)
    assert {hop.peer_id for hop in route} == {server.peer_id for server in paid.servers}


def test_a_contributor_sees_what_a_server_earned(paid, book):
    folder, ledger = book
    with swarm.Client("demo", paid.peers, ledger=str(folder)) as client:
        route = client.generate(PROMPT, max_new_tokens=8, ignore_eos=True).route
    server = next(server for server in paid.servers if server.peer_id == route[0].peer_id)
    assert wait_until(lambda: ledger.account(address_of(server.peer_id)).available > 0, 20)
    said = _run("earnings", "--json", "--ledger", str(folder), home=server.home)
    earned = json.loads(said.stdout)
    assert earned["peer_id"] == server.peer_id
    assert earned["earned"] + earned["pending"] >= ledger.account(address_of(server.peer_id)).available > 0
    assert earned["block_tokens"] == 10 * earned["tokens"] > 0


def _run(*arguments: str, home: Path | None = None) -> subprocess.CompletedProcess:
    environment = {**os.environ, "SWARM_HOME": str(home)} if home else None
    return subprocess.run(
        [sys.executable, "-m", "swarm", *arguments], capture_output=True, text=True, check=True, env=environment
    )


# --- what a client may spend -----------------------------------------------------------------------------------------


def test_a_client_without_an_account_is_told_which_ledger_is_wanted(paid, book):
    hasty = swarm.Client("demo", paid.peers, coverage_timeout_s=0.0)
    with hasty as client, pytest.raises(swarm.NoRoute, match=book[1].id.hex()[:16]):
        client.generate(PROMPT, max_new_tokens=2)


def test_a_budget_is_kept_and_says_what_is_missing(paid, book):
    least = 30 * (6 * PREFILL + 10 * PRICE)
    with swarm.Client("demo", paid.peers, ledger=str(book[0]), budget=least) as client:
        generation = client.generate(PROMPT, max_new_tokens=8, ignore_eos=True)
        assert 0 < generation.cost <= least
        with pytest.raises(PaymentRequired, match="left of the budget"):
            client.generate(PROMPT, max_new_tokens=8, ignore_eos=True)


def test_a_price_above_the_limit_is_not_paid(paid, book):
    terms = {"ledger": str(book[0]), "max_price": 30 * PRICE // 2, "coverage_timeout_s": 0.0}
    with (
        swarm.Client("demo", paid.peers, **terms) as client,
        pytest.raises(swarm.NoRoute, match="no chain costs at most"),
    ):
        client.generate(PROMPT, max_new_tokens=50)


def test_an_account_that_does_not_cover_a_session_is_told_what_to_do(paid, book, monkeypatch, tmp_path):
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))  # another user, who has nothing
    with (
        swarm.Client("demo", paid.peers, ledger=str(book[0])) as client,
        pytest.raises(PaymentRequired, match="put more there"),
    ):
        client.generate(PROMPT, max_new_tokens=2)


def test_a_bid_is_paid_on_top_of_the_price(paid, book):
    with swarm.Client("demo", paid.peers, ledger=str(book[0])) as client:
        generation = client.generate(PROMPT, max_new_tokens=4, priority_fee=7, ignore_eos=True)
    prompt = len(generation.prompt_token_ids)
    assert generation.cost == 30 * (prompt * (PREFILL + 7) + 3 * (PRICE + 7))


def test_batch_work_costs_half_or_less(paid, book):
    with swarm.Client("demo", paid.peers, ledger=str(book[0])) as client:
        batch, usual = (client.generate(PROMPT, max_new_tokens=8, batch=one, ignore_eos=True) for one in (True, False))
    assert 2 * batch.cost <= usual.cost
    assert batch.token_ids == usual.token_ids


def test_many_sessions_share_one_channel_and_are_paid_to_the_last_token(paid, book):
    folder, ledger = book
    with swarm.Client("demo", paid.peers, ledger=str(folder)) as client:
        wait_until(lambda: False, 1.5)  # what earlier tests owe is settled
        before = {server.peer_id: ledger.account(address_of(server.peer_id)).available for server in paid.servers}
        prompts = [list(range(100, 100 + length)) for length in (3, 40, 300, 7, 120, 12)]
        generations = client.generate(prompts, max_new_tokens=24, ignore_eos=True)
    tokens = sum(map(len, prompts))
    each = 10 * (tokens * PREFILL + 6 * 23 * PRICE)
    assert sum(generation.cost for generation in generations) == 3 * each
    assert settled(ledger, {peer: amount + each for peer, amount in before.items()})


# --- when something breaks -------------------------------------------------------------------------------------------


def test_a_client_that_forgot_its_vouchers_goes_on_from_the_servers(paid, book):
    """As after a crash: the channels are found on the ledger, and what was signed is heard from the servers."""
    folder, ledger = book
    for _ in range(2):
        with swarm.Client("demo", paid.peers, ledger=str(folder)) as client:
            assert client.generate(PROMPT, max_new_tokens=4, ignore_eos=True).cost > 0
    channels = [one for one in ledger.channels(payer=client_identity().address) if not one.is_closed]
    assert len(channels) == 3


def test_a_server_that_is_killed_loses_no_voucher_and_its_replacement_is_paid_for_what_it_repeats(book):
    folder, ledger = book
    options = {"quant": "int4", "threads": 1, "ledger": folder, "price": PRICE, "stake": "1", "settle_every": 0.5}
    with swarm.LocalSwarm("demo", [*BLOCKS, "10:20"], **options) as local:
        with swarm.Client("demo", local.peers, ledger=str(folder)) as client:
            stream = client.stream(PROMPT, max_new_tokens=60, ignore_eos=True)
            for _ in stream:
                if len(stream.generation.token_ids) == 40 and not stream.generation.repairs:
                    victim = stream.generation.route[1].peer_id
                    server = next(one for one in local.servers if one.peer_id == victim)
                    server.kill()
            generation = stream.generation
        local.restart(server)
        assert [payment.blocks for payment in generation.payments].count((10, 20)) == 2
        assert settled(ledger, {payment.peer_id: payment.amount for payment in generation.payments if
                                payment.peer_id != victim})  # fmt: skip
        got = next(payment.amount for payment in generation.payments if payment.peer_id == victim)
        credit = 64 * 10 * PRICE
        assert got - credit <= ledger.account(address_of(victim)).available <= got
