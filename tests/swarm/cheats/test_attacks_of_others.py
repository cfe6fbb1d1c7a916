"""Auditors that lie, and clients that cheat: the outcomes are in docs/attacks.md."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import grpc
import pytest
import torch

from cheats import PROMPT, TOKENS, Swarm, all_faults
from swarm.client.background import wait
from swarm.peers.convictions import Conviction
from swarm.results import Audit
from swarm.route.peer import PeerInfo
from swarm.route.route import Hop
from swarm.session.hop import HopFailed
from swarm.verify.audit.judges import PeerJudges
from swarm.verify.audit.judging.judgement import Verdict
from swarm.verify.audit.panel import draw_panel
from swarm.verify.fraud.proofs import AUDIT, Proof
from swarm.verify.reputation.standing import Event
from swarm.wire import codec
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.receipts import SignedReceipt
from swarm.wire.identity import Identity
from swarm.wire.session_id import new_session_id

# --- auditors that lie -----------------------------------------------------------------------------------------------


def disputed(
    swarm_: Swarm, cheat: str, accused: PeerInfo, peers: Sequence[PeerInfo], with_files: bool, first: PeerInfo
) -> Audit:
    """An audit of `accused` by `peers`, of which `first` is drawn first."""

    async def work() -> Audit:
        session = swarm_.session([Hop(swarm_.first, 0, 1), Hop(accused, 1, 3), Hop(swarm_.last, 3, 5)])
        try:
            for seed in range(20):  # the draw depends on what was signed
                await swarm_.work(session, seed)
                stream = session.chain.streams[1]
                receipts = session.receipts_of(stream)
                for stop in range(1, len(receipts) + 1):
                    drawn = draw_panel(receipts[stop - 1].receipt.hash, dict.fromkeys(ids, 1.0), len(ids))
                    if drawn[0] == first.peer_id:
                        examiner = swarm_.examiner(prefers_local=False)
                        if not with_files:
                            examiner.local = None
                        return await examiner.examine(
                            session.signed, stream, receipts[:stop], by_peers=True, by_us=True
                        )
                session.close()
                session = swarm_.session(session.hops)
        finally:
            session.close()

    ids = [peer.peer_id for peer in peers]
    with swarm_.cheater.does(cheat), pytest.MonkeyPatch.context() as patch:
        patch.setattr(PeerJudges, "for_work", lambda self, receipt: {peer.peer_id: peer for peer in peers})
        return wait(work())


def test_a_false_accuser_is_found_out_by_a_client_that_has_the_model(swarm_, run):
    audit = disputed(swarm_, "lie-as-auditor", swarm_.middle, [swarm_.wrong, swarm_.twin], True, swarm_.wrong)
    assert (audit.by, audit.verdict) == ("local", Verdict.PASS)
    assert swarm_.reputation.is_convicted(swarm_.wrong.peer_id)  # the twin is the witness that others can read of


def test_a_false_accuser_is_outvoted_by_a_panel(swarm_, run):
    audit = disputed(swarm_, "lie-as-auditor", swarm_.middle, [swarm_.wrong, swarm_.twin], False, swarm_.wrong)
    assert audit.verdict == Verdict.PASS
    assert swarm_.reputation.is_shunned(swarm_.wrong.peer_id) and not swarm_.reputation.is_shunned(
        swarm_.middle.peer_id
    )


def test_a_false_accuser_with_nobody_to_settle_it_makes_a_suspect_of_itself_too(swarm_, run):
    audit = disputed(swarm_, "lie-as-auditor", swarm_.middle, [swarm_.wrong], False, swarm_.wrong)
    assert audit.verdict == Verdict.SUSPECT
    assert all(swarm_.reputation.standing(peer.peer_id).is_suspect for peer in (swarm_.wrong, swarm_.middle))
    assert not any(swarm_.reputation.is_shunned(peer.peer_id) for peer in (swarm_.wrong, swarm_.middle))


@pytest.mark.parametrize("is_known", [False, True])
def test_a_panel_convicts_for_good_only_where_the_client_knows_it(swarm_, run, is_known):
    if is_known:
        for peer in (swarm_.middle, swarm_.twin):
            swarm_.reputation.observe(peer.peer_id, Event.AUDIT_PASSED)
    panel = [swarm_.middle, swarm_.twin]
    audit = disputed(swarm_, "int4-as-bf16", swarm_.wrong, panel, False, swarm_.middle)
    assert audit.verdict == Verdict.FAIL
    assert swarm_.reputation.is_shunned(swarm_.wrong.peer_id)
    assert swarm_.reputation.is_convicted(swarm_.wrong.peer_id) == is_known


def test_a_swarm_of_fresh_keys_convinces_nobody_of_its_accusation(swarm_, run):
    """It can sign whatever it likes, for the same work as an honest peer's."""

    async def work() -> SignedReceipt:
        session = swarm_.session(swarm_.middle_chain)
        await swarm_.work(session)
        session.close()
        return session.receipts.all()[0]

    honest = wait(work())
    crowd = []
    for fresh in (Identity() for _ in range(3)):
        terms = replace(honest.receipt.terms, peer=fresh.address)
        crowd.append(replace(honest.receipt, terms=terms, outputs=bytes(32)).sign(fresh))
    proof = Proof.of(AUDIT, [honest, *crowd])
    announcer = Identity().peer_id
    conviction = Conviction(swarm_.client.parts.checkpoint.name, honest.peer_id, announcer, AUDIT, proof.encode())
    assert wait(swarm_.penalties.check(conviction)) is None
    invented = replace(conviction, proof=proof.encode()[:-1] + b"?")
    assert wait(swarm_.penalties.check(invented)) is False


# --- clients that cheat ----------------------------------------------------------------------------------------------


async def raw_session(swarm_: Swarm, peer: PeerInfo, **fields: object) -> tuple[grpc.aio.StreamStreamCall, pb.ToClient]:
    """A client's own stream, and the answer to its opening."""
    options = swarm_.options()
    request = pb.Open(model=options.model, revision=options.revision, wire_dtype=pb.BFLOAT16, max_tokens=64, seq=1)
    for name, value in fields.items():
        setattr(request, name, value)
    stream = swarm_.table.connection_to(peer).session()
    await stream.write(pb.ToServer(open=request))
    return stream, await stream.read()


def test_a_client_cannot_make_a_server_sign_two_things_for_one_opening(swarm_, run):
    async def work() -> list[str]:
        opening = {"session_id": new_session_id(), "start": 1, "stop": 3}
        answers = []
        for changes in ({}, {}, {"stop": 2}, {"seq": 2}):
            stream, answer = await raw_session(swarm_, swarm_.middle, **{**opening, **changes})
            answers.append(answer.failure.message)
            stream.cancel()
            await asyncio.sleep(0.2)  # the server has noticed
        return answers

    first, again, shorter, other_attempt = wait(work())
    assert first == other_attempt == ""
    assert "opened here before" in again and "opened here before" in shorter


def test_what_a_client_got_is_only_acknowledged_between_hops(swarm_, run):
    """A successor's receipt names its predecessor's: neither can deny what went between them. The client signs nothing
    yet, and can deny what the last hop sent it."""
    session, found = all_faults(swarm_, "", swarm_.middle_chain)
    assert not found
    prompts = [hop.receipts[0].receipt for hop in session.receipts.hops]
    assert [receipt.upstream for receipt in prompts[1:]] == [receipt.hash for receipt in prompts[:-1]]


def test_a_client_that_rewinds_for_ever_is_stopped(swarm_, run):
    async def work() -> int:
        session = swarm_.session([Hop(swarm_.first, 0, 1)], seal_tokens=1)
        await session.open()
        count = 0
        try:
            row = torch.zeros(1, swarm_.client.config.hidden_size)
            while count < 20 * (PROMPT + TOKENS):
                await session.forward(0, row)
                count += 1
        except HopFailed as failure:
            assert "again and again" in str(failure)
        finally:
            session.close()
        return count

    assert wait(work()) == 10 * (PROMPT + TOKENS)


@pytest.mark.parametrize("message", [pb.ToServer(fetch=pb.Fetch(count=64)), pb.ToServer(seal=pb.Seal(sketches=True))])
def test_a_client_that_asks_and_does_not_read_is_cut_off_and_disturbs_nobody(swarm_, run, message):
    async def work() -> int:
        stream, answer = await raw_session(swarm_, swarm_.first, session_id=new_session_id(), start=0, stop=1)
        assert answer.HasField("opened")
        rows = codec.encode(torch.zeros(64, swarm_.client.config.hidden_size), torch.bfloat16)
        await stream.write(pb.ToServer(step=pb.Step(count=64, hidden=rows, seq=2)))
        with suppress(grpc.RpcError, asyncio.InvalidStateError, TimeoutError):
            for _ in range(2_000):  # or until the server reads no more
                async with asyncio.timeout(2):
                    await stream.write(message)
        session = swarm_.session(swarm_.middle_chain)
        await swarm_.work(session)
        session.close()
        assert not session.receipts.faults
        deadline, peer = time.monotonic() + 10, swarm_.table.connection_to(swarm_.first)
        while (left := (await peer.status(5.0)).load.sessions) and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        stream.cancel()
        return left

    assert wait(work()) == 0
