"""Every way of cheating that we could think of, and what becomes of it: the outcomes are in docs/attacks.md.

Real servers, one of which runs tests/cheating_server.py. A test sends random activations along a chain that it chose
and looks at what a client would hold against whom.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
import torch

import swarm
from helpers import listed
from swarm.client.background import wait
from swarm.home import evidence_folder, thresholds_folder
from swarm.peers.convictions import Conviction
from swarm.results import Audit
from swarm.route.peer import PeerInfo
from swarm.route.route import Hop
from swarm.session.chain import SessionOptions
from swarm.session.hop import HopFailed, HopStream, is_recoverable
from swarm.session.limits import ClientLimits
from swarm.session.session import Session
from swarm.verify.audit.case import Case, judge_case
from swarm.verify.audit.examiner import Examiner
from swarm.verify.audit.expert import Expert
from swarm.verify.audit.gathering import gather_case
from swarm.verify.audit.judgement import Verdict
from swarm.verify.audit.judges import LocalJudge, PeerJudges
from swarm.verify.audit.panel import draw_panel
from swarm.verify.audit.reexecution import Reexecutor
from swarm.verify.audit.thresholds import BUILT_IN
from swarm.verify.fraud.penalties import Penalties
from swarm.verify.fraud.proofs import AUDIT, Proof
from swarm.verify.receipts.checking import MAX_FAULTS, Fault, FaultKind
from swarm.verify.receipts.observer import SEAL_TOKENS, ReceiptObserver, SignedSession
from swarm.verify.reputation.standing import Event
from swarm.verify.reputation.store import ReputationStore
from swarm.wire import codec
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.receipts import SignedReceipt
from swarm.wire.identity import Identity
from swarm.wire.session_id import new_session_id
from swarm.wire.transport import Peer

CHEATING = str(Path(__file__).parents[1] / "support" / "cheating_server.py")
PROMPT, TOKENS = 40, 40  # positions in one step and one by one: three chunks
KINDS = FaultKind


class Cheater:
    """A server that cheats in the way that its file names."""

    def __init__(self, server: object, file: Path):
        self.peer_id, self._file = server.peer_id, file

    @contextmanager
    def does(self, name: str) -> Iterator[None]:
        self._file.write_text(name)
        try:
            yield
        finally:
            self._file.unlink()


class WatchedSession(Session):
    """signed: by its hops."""

    def __init__(self, hops: Sequence[Hop], peers: Sequence[Peer], options: SessionOptions, signed: ReceiptObserver):
        super().__init__(hops, peers, options, observer=signed)
        self.signed, self.receipts = SignedSession(self, signed), signed.receipts

    def receipts_of(self, hop: HopStream) -> list[SignedReceipt]:
        return self.signed.signed.of(hop).receipts


class Swarm:
    """Honest servers `first`, `middle`, `twin`, `last`, and `cheater`, which may take the middle's or last's place."""

    def __init__(self, local: swarm.LocalSwarm, cheater: Cheater, client: swarm.Client, home: Path):
        ids = [server.peer_id for server in local.servers]
        self.local, self.client, self.cheater, self.home = local, client, cheater, home
        self.table = client.parts.router.table
        self.peers = {peer.peer_id: peer for peer in listed(client)}
        self.first, self.middle, self.twin, self.last = (self.peers[peer_id] for peer_id in ids[:4])
        self.wrong = self.peers[cheater.peer_id]
        self.judge = LocalJudge(Expert(client.parts.checkpoint, thresholds_folder()))
        self.penalties: Penalties | None = None
        self.forget()

    def forget(self) -> None:
        """What was learnt of peers."""

        async def begin() -> Penalties:
            if self.penalties:
                await self.penalties.close(0)
            return Penalties(
                self.table, self.reputation, self.client.parts.checkpoint, Identity(), evidence_folder(), None
            )

        self.reputation = ReputationStore()
        self.penalties = wait(begin())

    @property
    def middle_chain(self) -> list[Hop]:
        return [Hop(self.first, 0, 1), Hop(self.wrong, 1, 3), Hop(self.last, 3, 5)]

    @property
    def last_chain(self) -> list[Hop]:
        return [Hop(self.first, 0, 1), Hop(self.wrong, 1, 3)]

    def options(self) -> SessionOptions:
        checkpoint = self.client.parts.checkpoint
        return SessionOptions(
            model=checkpoint.name, revision=checkpoint.revision, hidden_size=checkpoint.config.hidden_size,
            wire_dtype=torch.bfloat16, max_tokens=PROMPT + TOKENS, open_timeout_s=10, step_timeout_s=10,
        )  # fmt: skip

    def session(self, hops: Sequence[Hop], seal_tokens: int = SEAL_TOKENS) -> "WatchedSession":
        connections = [self.table.connection_to(hop.peer) for hop in hops]
        return WatchedSession(hops, connections, self.options(), ReceiptObserver(seal_tokens=seal_tokens))

    async def work(self, session: WatchedSession, seed: int = 0) -> torch.Tensor:
        """A prompt and some tokens; what came out."""
        torch.manual_seed(seed)
        hidden = torch.randn(PROMPT + TOKENS, self.client.config.hidden_size)
        await session.open()
        rows = [await session.forward(0, hidden[:PROMPT])]
        for position in range(PROMPT, PROMPT + TOKENS):
            rows.append(await session.forward(position, hidden[position : position + 1]))
        await session.finish()
        return torch.cat(rows)

    def examiner(self, prefers_local: bool = True) -> Examiner:
        peers = PeerJudges(self.table, self.client.parts.checkpoint, ClientLimits())
        return Examiner(peers, self.judge, self.penalties, prefers_local)

    async def audit(self, session: WatchedSession, index: int, examiner: Examiner | None = None) -> Audit:
        """All that one hop did."""
        stream = session.chain.streams[index]
        examiner = examiner or self.examiner()
        return await examiner.examine(session.signed, stream, session.receipts_of(stream), True, True)


@pytest.fixture(scope="module")
def swarm_(tmp_path_factory) -> Iterator[Swarm]:
    home = tmp_path_factory.mktemp("cheats")
    with (
        swarm.LocalSwarm("demo", ["0:1", "1:3", "1:3", "3:5"], dtype="bfloat16", threads=1, kv_memory="32M") as local,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("CHEAT_FILE", str(home / "cheat"))
        local.program = (CHEATING,)
        cheater = Cheater(local.start("1:3"), home / "cheat")
        with swarm.Client("demo", local.peers, audit="off") as client:
            yield Swarm(local, cheater, client, home)


@pytest.fixture
def run(swarm_) -> Iterator[Callable[[Coroutine], object]]:
    swarm_.forget()
    yield wait


def faults(session: WatchedSession, peer: PeerInfo) -> set[FaultKind]:
    return {fault.kind for fault in session.receipts.faults if fault.peer_id == peer.peer_id}


def all_faults(swarm_: Swarm, cheat: str, hops: Sequence[Hop]) -> tuple[WatchedSession, list[Fault]]:
    """Of a whole session during which the cheater did `cheat`."""
    session = swarm_.session(hops)
    with swarm_.cheater.does(cheat):
        wait(swarm_.work(session))
    session.close()
    return session, session.receipts.faults


def audited(swarm_: Swarm, cheat: str, hops: Sequence[Hop], index: int = 1, prefers_local: bool = True) -> Audit:
    """The outcome of an audit of hop `index` after such a session."""

    async def work() -> Audit:
        session = swarm_.session(hops)
        try:
            await swarm_.work(session)
            assert not session.receipts.faults
            return await swarm_.audit(session, index, swarm_.examiner(prefers_local))
        finally:
            session.close()

    with swarm_.cheater.does(cheat):
        return wait(work())


# --- honest ----------------------------------------------------------------------------------------------------------


def test_an_honest_chain_is_blamed_for_nothing_and_passes_audits(swarm_, run):
    for index in range(3):
        assert audited(swarm_, "", swarm_.middle_chain, index).verdict == Verdict.PASS


# --- wrong results: detected by the first audit ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "cheat",
    ["int4-as-bf16", "int8-as-bf16", "skip-block", "short-window", "other-model", "echo", "int4-unless-audited"],
)
def test_other_results_than_announced_fail_the_first_audit(swarm_, run, cheat):
    audit = audited(swarm_, cheat, swarm_.middle_chain)
    assert (audit.verdict, audit.judgement.method) == (Verdict.FAIL, "exact")
    assert swarm_.reputation.is_shunned(swarm_.wrong.peer_id)


def test_cached_answers_fail_the_first_audit(swarm_, run):
    async def work() -> Audit:
        first, second = swarm_.session(swarm_.middle_chain), swarm_.session(swarm_.middle_chain)
        await swarm_.work(first, seed=1)
        await swarm_.work(second, seed=2)
        audit = await swarm_.audit(second, 1)
        first.close(), second.close()
        return audit

    with swarm_.cheater.does("replay"):
        assert wait(work()).verdict == Verdict.FAIL


class NoPromise(Reexecutor):
    """Of a machine with other kernels: it compares distances."""

    numerics_id = ""


@pytest.mark.parametrize(
    ("cheat", "least"),
    [
        # The demo's weights are int4 as they come: this one saves no more than the rounding of int8 activations, which
        # is twice an honest peer's. More audits convict it, see test_suspicions_add_up_to_a_conviction.
        ("int4-as-bf16", Verdict.SUSPECT),
        *((cheat, Verdict.FAIL) for cheat in ("skip-block", "short-window", "other-model", "echo")),
    ],
)
def test_an_auditor_with_other_kernels_is_not_fooled_either(swarm_, run, cheat, least):
    """By sketches of a few numbers a token."""

    async def work() -> Case:
        session = swarm_.session(swarm_.middle_chain)
        await swarm_.work(session)
        stream = session.chain.streams[1]
        try:
            return await gather_case(session.signed, stream, session.receipts_of(stream), sketches=True)
        finally:
            session.close()

    with swarm_.cheater.does(cheat):
        case = wait(work())
    judgement = judge_case(case, NoPromise(swarm_.client.parts.checkpoint, 1, 3, "none", torch.bfloat16), BUILT_IN)
    assert judgement.method == "sketch"
    assert judgement.verdict >= least


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
