"""What a client makes of convictions."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from accusations import CHEAT, WITNESS, cannot_tell, conviction, signed
from swarm.errors import PeerUnreachable
from swarm.peers import convictions
from swarm.peers.convictions import Conviction
from swarm.verify.fraud.inbox import MAX_PER_ACCUSED, FraudInbox
from swarm.verify.reputation.store import ReputationStore
from swarm.wire.identity import Identity

# --- what a client makes of them -------------------------------------------------------------------------------------


def judged(check: Callable[[Conviction], Awaitable[bool | None]], *said: Conviction) -> ReputationStore:
    """What a client knows after it heard `said`, twice, all by the same witness."""

    async def scenario() -> ReputationStore:
        reputation = ReputationStore()
        inbox = FraudInbox(reputation, check)
        working = asyncio.create_task(inbox.work())
        for _ in range(2):
            accusations = {one.subkey: convictions.sign(one, WITNESS) for one in said}
            inbox.consider(accusations, {one.accused for one in said})
            await asyncio.sleep(0.05)
        working.cancel()
        return reputation

    return asyncio.run(scenario())


def test_a_proven_cheat_is_shunned_for_good_and_its_proof_is_checked_once():
    asked: list[Conviction] = []

    async def check(said: Conviction) -> bool:
        asked.append(said)
        return True

    reputation = judged(check, conviction())
    assert reputation.is_convicted(CHEAT.peer_id)
    assert reputation.standing(WITNESS.peer_id).is_credible
    assert len(asked) == 1


def test_a_false_accusation_counts_against_its_announcer_who_is_not_heard_again():
    asked: list[Conviction] = []

    async def check(said: Conviction) -> bool:
        asked.append(said)
        return False

    others = [conviction(accused=Identity().peer_id) for _ in range(3)]
    reputation = judged(check, conviction(), *others)
    assert not reputation.is_shunned(CHEAT.peer_id)
    assert not reputation.standing(CHEAT.peer_id).is_suspect
    assert not reputation.standing(WITNESS.peer_id).is_credible
    assert reputation.slowdown(WITNESS.peer_id) > reputation.slowdown(CHEAT.peer_id)
    assert reputation.audit_rate(CHEAT.peer_id) == 0.2

    async def again() -> int:
        inbox = FraudInbox(reputation, cannot_tell)
        inbox.consider({conviction().subkey: signed(proof=b"another")}, {CHEAT.peer_id})
        return inbox._proofs.qsize()

    assert asyncio.run(again()) == 0


async def cannot_be_fetched(said: Conviction) -> None:
    raise PeerUnreachable("nobody holds the evidence")


@pytest.mark.parametrize("check", [cannot_tell, cannot_be_fetched])
def test_what_cannot_be_checked_makes_a_suspect_of_the_accused_and_nothing_worse(check):
    reputation, stranger = judged(check, conviction()), ReputationStore()
    assert reputation.standing(CHEAT.peer_id).is_suspect
    assert not reputation.is_shunned(CHEAT.peer_id)
    assert reputation.slowdown(CHEAT.peer_id) == pytest.approx(stranger.slowdown(CHEAT.peer_id))
    assert reputation.audit_rate(CHEAT.peer_id) == 1.0
    assert reputation.standing(WITNESS.peer_id).is_credible


def test_a_flood_about_one_peer_leaves_room_for_what_is_said_of_another():
    async def scenario() -> list[str]:
        inbox, victim, flood = (
            FraudInbox(ReputationStore(), cannot_tell),
            Identity().peer_id,
            [Identity() for _ in range(50)],
        )
        accusations = {conviction(one, accused=victim).subkey: signed(one, accused=victim) for one in flood}
        inbox.consider(accusations | {conviction().subkey: signed()}, {victim, CHEAT.peer_id, "somebody else"})
        inbox.consider({"junk": b"junk", "a/b": b"junk"}, {"a"})
        return [inbox._proofs.get_nowait().accused for _ in range(inbox._proofs.qsize())]

    waiting = asyncio.run(scenario())
    assert len(waiting) == MAX_PER_ACCUSED + 1
    assert CHEAT.peer_id in waiting
