"""Every way of signing something else than was sent that we could think of: the outcomes are in docs/attacks.md."""

import time

import pytest

from cheats import WatchedSession, all_faults
from swarm.client.background import wait
from swarm.results import Audit
from swarm.route.peer import PeerInfo
from swarm.session.hop import HopFailed, is_recoverable
from swarm.session.session import Session
from swarm.verify.audit.gathering import gather_case
from swarm.verify.fraud.proofs import Proof
from swarm.verify.receipts.checking import MAX_FAULTS, FaultKind

KINDS = FaultKind


def faults(session: WatchedSession, peer: PeerInfo) -> set[FaultKind]:
    return {fault.kind for fault in session.receipts.faults if fault.peer_id == peer.peer_id}


# --- something else signed than sent: detected at the end of the session at the latest, without recomputing anything -


def test_who_signs_one_thing_and_sends_another_is_one_of_two(swarm_, run):
    session, _ = all_faults(swarm_, "swap-digest", swarm_.middle_chain)
    assert [faults(session, hop.peer) for hop in session.hops] == [set(), {KINDS.UNLINKED}, {KINDS.UNLINKED}]


def test_signing_late_does_not_hide_it(swarm_, run):
    session, _ = all_faults(swarm_, "late-and-swapped", swarm_.middle_chain)
    assert [faults(session, hop.peer) for hop in session.hops] == [set(), {KINDS.UNLINKED}, {KINDS.UNLINKED}]


def test_signing_for_other_chunks_does_not_hide_it(swarm_, run):
    session, found = all_faults(swarm_, "odd-chunks", swarm_.middle_chain)
    assert all(KINDS.UNLINKED in faults(session, hop.peer) for hop in session.hops)
    assert len([fault for fault in found if fault.peer_id == swarm_.wrong.peer_id]) == 2


def test_a_last_hop_that_signs_one_thing_and_sends_another_is_found_out_by_the_client(swarm_, run):
    session, _ = all_faults(swarm_, "swap-digest", swarm_.last_chain)
    assert [faults(session, hop.peer) for hop in session.hops] == [set(), {KINDS.INVALID}]


def test_another_first_token_than_was_signed_for_is_found_by_the_first_audit(swarm_, run):
    """Of a prompt the client gets one row, and the receipt is over all of them."""

    async def work() -> tuple[Session, Audit]:
        session = swarm_.session(swarm_.last_chain)
        await swarm_.work(session)
        audit = await swarm_.audit(session, 1)
        session.close()
        return session, audit

    with swarm_.cheater.does("first-token"):
        session, audit = wait(work())
    assert audit.judgement is None
    assert [faults(session, hop.peer) for hop in session.hops] == [set(), {KINDS.INVALID}]


def test_bytes_that_are_not_those_of_their_digest_end_at_the_next_hop_and_both_are_replaced(swarm_, run):
    async def work() -> list[bool]:
        session = swarm_.session(swarm_.middle_chain)
        try:
            with pytest.raises(HopFailed) as failure:
                await swarm_.work(session)
            assert is_recoverable(failure.value.cause)
            return [stream.failure is not None for stream in session.chain.streams]
        finally:
            session.close()

    with swarm_.cheater.does("bad-digest"):
        assert wait(work()) == [False, True, True]


def test_a_receipt_in_another_peers_name_counts_for_nothing(swarm_, run):
    session, _ = all_faults(swarm_, "forge", swarm_.middle_chain)
    assert [faults(session, hop.peer) for hop in session.hops] == [set(), {KINDS.MISSING}, set()]


@pytest.mark.parametrize("cheat", ["withhold-receipts", "hang-up"])
def test_who_does_not_sign_is_blamed_also_if_it_leaves_when_it_is_asked(swarm_, run, cheat):
    session, _ = all_faults(swarm_, cheat, swarm_.middle_chain)
    assert [faults(session, hop.peer) for hop in session.hops] == [set(), {KINDS.MISSING}, set()]


@pytest.mark.parametrize(("cheat", "kind"), [("equivocate", KINDS.EQUIVOCATION), ("wrong-inputs", KINDS.CONTRADICTION)])
def test_two_receipts_that_exclude_each_other_convict_everywhere(swarm_, run, cheat, kind):
    """Without the model, and without believing anybody: the proof is two signatures."""
    session, found = all_faults(swarm_, cheat, swarm_.middle_chain)
    assert all(faults(session, hop.peer) <= {KINDS.UNLINKED} for hop in session.hops[::2])
    fault = next(fault for fault in found if fault.kind == kind)
    proof = Proof.decode(Proof.of(kind.name.lower(), fault.evidence).encode())
    assert (proof.accused, proof.witnesses) == (swarm_.wrong.peer_id, ())
    assert swarm_.penalties.believes(proof)


def test_a_receipt_for_four_billion_positions_costs_the_client_nothing(swarm_, run):
    started = time.monotonic()
    session, _ = all_faults(swarm_, "vast-receipt", swarm_.middle_chain)
    assert {KINDS.INVALID, KINDS.MISSING} <= faults(session, swarm_.wrong)
    assert time.monotonic() - started < 60  # it would be minutes, and all the memory there is


def test_a_thousand_faults_count_as_a_few(swarm_, run):
    _, found = all_faults(swarm_, "many-faults", swarm_.middle_chain)
    assert len([fault for fault in found if fault.peer_id == swarm_.wrong.peer_id]) == MAX_FAULTS


# --- evidence that is withheld or wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cheat", "detail"), [("swap-journal", "not what it signed for"), ("withhold-journal", "no outputs")]
)
def test_a_predecessor_that_hands_out_other_rows_or_none_takes_the_blame_itself(swarm_, run, cheat, detail):
    async def work() -> tuple[Session, Audit]:
        session = swarm_.session(swarm_.middle_chain)
        await swarm_.work(session)
        audit = await swarm_.audit(session, 2)
        session.close()
        return session, audit

    with swarm_.cheater.does(cheat):
        session, audit = wait(work())
    assert audit.judgement is None
    assert audit.reason == "not all that it takes was handed out; the faults say by whom"
    (fault,) = session.receipts.faults
    assert (fault.peer_id, fault.kind) == (swarm_.wrong.peer_id, KINDS.WITHHELD)
    assert detail in fault.detail


def test_sketches_that_are_withheld_are_a_fault(swarm_, run):
    async def work() -> Session:
        session = swarm_.session(swarm_.middle_chain)
        await swarm_.work(session)
        stream = session.chain.streams[1]
        assert await gather_case(session.signed, stream, session.receipts_of(stream), sketches=True) is None
        session.close()
        return session

    with swarm_.cheater.does("withhold-sketches"):
        assert faults(wait(work()), swarm_.wrong) == {KINDS.WITHHELD}
