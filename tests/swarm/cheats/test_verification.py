"""What honest peers sign, what an audit of it says, and that verification changes nothing but the time of delivery."""

import os
import signal
import time
from collections.abc import Iterator
from itertools import pairwise

import pytest

import swarm
from swarm.home import evidence_folder
from swarm.verify.audit import auditing
from swarm.verify.audit.judging.judgement import Verdict
from swarm.verify.delivery import CheckedDelivery
from swarm.verify.receipts.observer import SignedSession
from swarm.wire.formats.receipts import SignedReceipt

PROMPT = "The capital of France is"
TOKENS = 72  # more than two receipts' worth
NOBODY = 'no other peer serves blocks {} in the same numerics; a client with audit="local" recomputes'
OPTIONS = {"max_new_tokens": TOKENS, "ignore_eos": True}


@pytest.fixture(scope="module")
def local() -> Iterator[swarm.LocalSwarm]:
    """Every block on two peers with the same numerics."""
    with swarm.LocalSwarm("demo", ["0:4", "4:30", "0:4", "4:30"], quant="int4", threads=1, kv_memory="64M") as local:
        yield local


@pytest.fixture(scope="module")
def client(local) -> Iterator[swarm.Client]:
    with swarm.Client("demo", local.peers, audit_rate=1.0) as client:
        yield client


@pytest.fixture(scope="module")
def expected(local) -> swarm.Generation:
    with swarm.Client("demo", local.peers, audit="off") as client:
        return client.generate(PROMPT, **OPTIONS)


def audits_of(generation: swarm.Generation) -> list:
    """Those of a generation's hops, once they are done."""
    deadline = time.monotonic() + 60
    while len(generation.audits) < len(generation.route) and time.monotonic() < deadline:
        time.sleep(0.05)
    return generation.audits


def test_why_there_is_no_audit_or_none_with_a_result_is_kept(local, client, expected):
    assert (expected.audits, expected.unaudited) == ([], "they are off")
    with swarm.Client("demo", local.peers, audit_rate=0.0) as idle:
        assert idle.generate(PROMPT, **OPTIONS).unaudited == "none drawn"
    alone = sorted(client.usable_peers(), key=lambda peer: peer.blocks)[::2]
    with swarm.Client("demo", local.peers, audit_rate=1.0, trusted=[peer.peer_id for peer in alone]) as pair:
        out = pair.generate(PROMPT, **OPTIONS)
        pair.wait_for_audits()
    assert out.unaudited == ""
    assert {audit.reason for audit in out.audits} == {NOBODY.format(blocks) for blocks in ("0:4", "4:30")}


def test_whoever_says_how_much_is_audited_gets_no_less(client):
    outs = client.generate([PROMPT] * (2 * auditing.MAX_RUNNING), max_new_tokens=2, ignore_eos=True)
    client.wait_for_audits()
    assert [len(out.audits) for out in outs] == [len(out.route) for out in outs]


def test_by_itself_a_client_begins_no_audit_that_comes_to_nothing(local, client, monkeypatch):
    monkeypatch.setattr(auditing, "is_chosen", lambda nonce, segment, rate: True)
    alone = sorted(client.usable_peers(), key=lambda peer: peer.blocks)[::2]
    with swarm.Client("demo", local.peers, trusted=[peer.peer_id for peer in alone]) as pair:
        out = pair.generate(PROMPT, max_new_tokens=2, ignore_eos=True)
        pair.wait_for_audits()
        assert (out.audits, out.unaudited) == ([], NOBODY.format("0:4"))
    with swarm.Client("demo", local.peers) as all_of_them:
        out = all_of_them.generate(PROMPT, max_new_tokens=2, ignore_eos=True)
        all_of_them.wait_for_audits()
        assert [audit.verdict for audit in out.audits] == [Verdict.PASS] * len(out.route)


def test_receipts_cover_every_position_of_every_hop_and_name_the_hop_before(client):
    out = client.generate(PROMPT, **OPTIONS)
    assert not out.faults
    previous: dict[tuple[int, int], SignedReceipt] = {}
    for hop in out.route:
        own = [signed for signed in out.receipts if signed.peer_id == hop.peer_id]
        assert own[0].first_position == 0
        assert all(one.receipt.stop_position == other.first_position for one, other in pairwise(own))
        assert own[-1].receipt.stop_position == len(out.prompt_token_ids) + TOKENS - 1
        for signed in own:
            source = previous.get((signed.first_position, signed.count))
            if source:
                assert signed.receipt.inputs == source.receipt.outputs
                is_last = signed is own[-1]  # which the client asked for, when nothing came along any more
                assert is_last or signed.receipt.upstream == source.receipt.hash
        previous = {(signed.first_position, signed.count): signed for signed in own}


def test_a_client_keeps_its_receipts(client):
    out = client.generate(PROMPT, max_new_tokens=2, ignore_eos=True)
    session = out.receipts[0].receipt.terms.session
    deadline = time.monotonic() + 10
    while len(kept := list(client.receipts.receipts(session))) < len(out.receipts) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert kept == out.receipts


def test_another_peer_of_the_same_numerics_recomputes_the_same_bits(client):
    out = client.generate(PROMPT, **OPTIONS)
    audits = audits_of(out)
    assert [audit.verdict for audit in audits] == [Verdict.PASS] * len(out.route)
    assert all(audit.judgement.method == "exact" and audit.by != audit.peer_id for audit in audits)


def test_a_client_with_the_models_files_recomputes_the_same_bits_itself(local):
    before = set(evidence_folder().glob("*"))
    with swarm.Client("demo", local.peers, audit="local", audit_rate=1.0) as client:
        out = client.generate(PROMPT, **OPTIONS)
        audits = audits_of(out)
    expected = [("local", Verdict.PASS, "exact")] * len(out.route)
    assert [(audit.by, audit.verdict, audit.judgement.method) for audit in audits] == expected
    assert set(evidence_folder().glob("*")) == before


@pytest.mark.parametrize(("verify", "by"), [(None, "nobody"), ("full", "local")])
def test_a_sensitive_generation_is_shown_to_no_further_peer(client, verify, by):
    out = client.generate(PROMPT, **OPTIONS, sensitive=True, verify=verify)
    assert {audit.by for audit in audits_of(out)} == {by}


@pytest.mark.parametrize("verify", ["receipts", "audit", "full"])
def test_verification_changes_no_token_and_holds_text_back(client, expected, verify):
    stream = client.stream(PROMPT, **OPTIONS, verify=verify)
    pieces = list(stream)
    assert stream.generation.token_ids == expected.token_ids
    assert "".join(pieces) == stream.generation.text == expected.text
    assert stream.generation.verified == TOKENS
    assert len(pieces) < TOKENS / 4
    if verify == "full":
        assert len(stream.generation.audits) == 2


@pytest.mark.parametrize("verify", ["receipts", "full"])
def test_what_may_be_looked_at_meanwhile_is_what_was_delivered(client, verify):
    stream, delivered = client.stream(PROMPT, **OPTIONS, verify=verify), ""
    for piece in stream:
        delivered += piece
        out = stream.generation
        assert len(out.text) >= len(delivered)
        assert len(out.token_ids) <= out.verified  # which is said first
        assert out.text == client.tokenizer.decode(out.token_ids, skip_special_tokens=True)


@pytest.mark.parametrize(("verify", "passed"), [("receipts", 1), ("full", 0)])
def test_an_error_hands_out_nothing_that_was_not_verified(client, monkeypatch, verify, passed):
    check, checks = CheckedDelivery._check, []

    async def broken(self: CheckedDelivery, session: SignedSession) -> None:
        checks.append(session)
        if len(checks) > passed:
            raise swarm.SwarmError("this test ends here")
        await check(self, session)

    monkeypatch.setattr(CheckedDelivery, "_check", broken)
    with pytest.raises(swarm.SwarmError, match="this test ends here") as raised:
        client.generate(PROMPT, **OPTIONS, verify=verify)
    (out,) = raised.value.generations
    assert len(out.token_ids) == out.verified < TOKENS
    assert (out.verified > 0) == (passed > 0)
    assert len(out.step_latencies_s) == max(out.verified - 1, 0)
    assert out.text == client.tokenizer.decode(out.token_ids, skip_special_tokens=True)
    assert out.finish_reason == ""


def test_a_peer_that_dies_before_its_work_was_verified_costs_no_token(local, client, expected):
    stream = client.stream(PROMPT, **OPTIONS, verify="receipts")
    first = next(iter(stream))
    victim = next(server for server in local.servers if server.peer_id == stream.generation.route[1].peer_id)
    os.kill(victim.pid, signal.SIGKILL)
    try:
        text = first + "".join(stream)
    finally:
        victim.kill()
        local.start("4:30")
    assert text == expected.text
    assert stream.generation.verified == TOKENS


def test_sampling_with_a_seed_is_the_same_with_and_without_verification(client):
    options = {**OPTIONS, "temperature": 0.9, "seed": 7, "stop": ["\n\n\n"]}
    plain, verified = client.generate(PROMPT, **options), client.generate(PROMPT, **options, verify="receipts")
    assert (plain.token_ids, plain.text) == (verified.token_ids, verified.text)


def test_an_unknown_verification_is_refused(client):
    with pytest.raises(swarm.InvalidRequest, match="unknown verify 'everything'"):
        client.generate(PROMPT, verify="everything")


def test_what_nobody_may_recompute_cannot_be_fully_verified(client, monkeypatch):
    """As with a hub's model, whose files are not on this machine, when no other peer may see the activations."""
    monkeypatch.setattr(client.parts.trust.auditing._examiner, "local", None)
    with pytest.raises(swarm.InvalidRequest, match="nobody can recompute"):
        client.generate(PROMPT, **OPTIONS, verify="full", sensitive=True)
