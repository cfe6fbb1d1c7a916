"""How an audit that a peer failed reaches clients that had nothing to do with it. All servers are real."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

import swarm
from helpers import wait_until
from swarm.client.background import wait
from swarm.client.local_swarm import LocalServer
from swarm.peers.convictions import Bundle, Conviction
from swarm.verify.audit.judging.judgement import Judgement, Verdict
from swarm.verify.audit.reexecution import Reexecutor
from swarm.verify.fraud.inbox import FraudInbox
from swarm.verify.reputation.store import ReputationStore
from swarm.wire import blobs as blobs
from swarm.wire import messages_pb2 as pb
from swarm.wire.rate_limit import Allowance

CHEATING_SERVER = """
import sys
from swarm.cli.server import main
from swarm.server.config import Parts
from swarm.server.scheduler.runner import Runner

class Cheat(Runner):
    def run(self, slices):
        outputs, seconds = super().run(slices)
        return [-output for output in outputs], seconds

sys.exit(main(parts=Parts(Cheat)))
"""


class Swarm(swarm.LocalSwarm):
    def start_cheat(self, blocks: str) -> LocalServer:
        self.program = ("-c", CHEATING_SERVER)
        return self.start(blocks)


@pytest.fixture(scope="module")
def local() -> Iterator[Swarm]:
    """Blocks 0:2 on two honest servers and on a cheat, the rest on one."""
    with Swarm("demo", ["0:2", "0:2", "2:30"], dtype="bfloat16", threads=1, kv_memory="32M") as local:
        local.start_cheat("0:2")
        yield local


@pytest.fixture(autouse=True)
def _swift(monkeypatch):
    """Clients look often for what is new."""
    monkeypatch.setattr("swarm.peers.table.REFRESH_S", 0.3)
    monkeypatch.setattr("swarm.verify.fraud.inbox.LOOK_EVERY_S", 0.3)


@contextmanager
def client_at(home: Path, local: Swarm, **options: object) -> Iterator[swarm.Client]:
    """Somebody who keeps what it knows in a home of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWARM_HOME", str(home))
        client = swarm.Client("demo", local.peers, **options)
    with client:
        yield client


def reputation_of(client: swarm.Client) -> ReputationStore:
    return client.parts.router.table.reputation


def usable(client: swarm.Client) -> set[str]:
    return {peer.peer_id for peer in client.parts.router.table.usable()}


def check(client: swarm.Client, said: Conviction) -> bool | None:
    return wait(client.parts.trust.penalties.check(said))


class Witness:
    """A client that has accused a peer and is gone."""

    def __init__(self, local: Swarm, home: Path, accused: LocalServer, lies: bool = False):
        last = next(server for server in local.servers if server.blocks == (2, 30))
        allowed = [accused.peer_id, last.peer_id]
        with client_at(home, local, audit="local", audit_rate=1.0, trusted=allowed) as client:
            if lies:
                client.parts.trust.auditing._examiner.local.judge = _lie
            client.generate("The capital of France is", max_new_tokens=40, ignore_eos=True)
            assert wait_until(lambda: reputation_of(client).is_convicted(accused.peer_id), 60)
            announcer = client.parts.trust.penalties._announcer
            assert wait_until(lambda: accused.peer_id in announcer._standing and not announcer._beginning, 60)
            self.peer_id, self.accused = client.parts.trust.penalties._identity.peer_id, accused.peer_id
            said = announcer._standing[accused.peer_id]
            self.holders, self.data = said.holders, said.file.read_bytes()

    def conviction(self, **changes: object) -> Conviction:
        """The same that it has announced, but for `changes` to the evidence."""
        bundle = Bundle(hashlib.sha256(self.data).digest(), len(self.data), self.holders[0].endpoint)
        return Conviction("demo", self.accused, self.peer_id, "audit", bundle=replace(bundle, **changes))


async def _lie(case: object) -> Judgement:
    return Judgement(Verdict.FAIL, "exact", 1.0, "wrong, says a liar")


@pytest.fixture(scope="module")
def witness(local, tmp_path_factory) -> Witness:
    return Witness(local, tmp_path_factory.mktemp("witness"), local.servers[-1])


@pytest.fixture(scope="module")
def liar(local, tmp_path_factory) -> Witness:
    return Witness(local, tmp_path_factory.mktemp("liar"), local.servers[0], lies=True)


@pytest.fixture(scope="module")
def deaf(local, tmp_path_factory) -> Iterator[swarm.Client]:
    """A client that looks for no accusations, to be asked about them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FraudInbox, "consider", lambda self, accusations, peers: None)
        with client_at(tmp_path_factory.mktemp("deaf"), local, audit="off") as client:
            client.parts.trust.penalties.inbox.consider = lambda accusations, peers: None
            patch.undo()
            yield client


def test_a_client_that_never_met_a_cheat_hears_of_it_recomputes_its_work_and_shuns_it(local, witness, tmp_path):
    cheat = witness.accused
    with client_at(tmp_path, local, audit="off") as stranger:
        assert wait_until(lambda: reputation_of(stranger).is_convicted(cheat), 60)
        assert cheat not in usable(stranger)
        route = stranger.generate("The capital of France is", max_new_tokens=2).route
        assert cheat not in {hop.peer_id for hop in route}
    (file,) = (tmp_path / "evidence").glob(f"{cheat[-8:]}-*")
    assert file.read_bytes() == witness.data


def test_evidence_of_honest_work_counts_against_who_announces_it_and_not_against_the_accused(local, liar, tmp_path):
    with client_at(tmp_path, local, audit="off") as client:
        assert wait_until(lambda: not reputation_of(client).standing(liar.peer_id).is_credible, 60)
        assert liar.accused in usable(client)
        assert not reputation_of(client).standing(liar.accused).is_suspect
    assert not list(tmp_path.glob(f"evidence/{liar.accused[-8:]}-*"))


def test_evidence_against_somebody_else_or_of_something_else_is_a_lie(deaf, witness, liar):
    assert check(deaf, replace(witness.conviction(), kind="equivocation")) is False
    holder = next(peer for peer in witness.holders if peer.peer_id != liar.accused)
    assert check(deaf, replace(witness.conviction(holder=holder.endpoint), accused=liar.accused)) is False


def test_evidence_is_fetched_only_from_listed_peers_and_not_if_it_is_too_large(deaf, witness):
    elsewhere = pb.Endpoint()
    elsewhere.CopyFrom(witness.holders[0].endpoint)
    elsewhere.port = 1
    assert check(deaf, witness.conviction(holder=elsewhere)) is None
    assert check(deaf, witness.conviction(nbytes=blobs.MAX_PARCEL_BYTES + 1)) is None
    with pytest.raises(swarm.InvalidRequest, match="does not keep that evidence"):
        check(deaf, witness.conviction(digest=bytes(32)))


def test_who_computes_other_bits_convicts_gross_cheats_but_calls_nobody_a_liar(deaf, witness, liar, monkeypatch):
    monkeypatch.setattr(Reexecutor, "numerics_id", "another machine's")
    assert check(deaf, witness.conviction()) is True
    assert check(deaf, liar.conviction()) is None


def test_a_client_without_the_models_files_cannot_tell(deaf, witness, monkeypatch):
    monkeypatch.setattr(deaf.parts.trust.penalties, "_verifier", None)
    assert check(deaf, witness.conviction()) is None


def test_strangers_can_have_a_client_recompute_only_so_often(deaf, witness, monkeypatch):
    monkeypatch.setattr(deaf.parts.trust.penalties._verifier, "_allowance", Allowance(1, 3600.0))
    assert check(deaf, witness.conviction()) is True
    assert check(deaf, witness.conviction()) is None


def test_an_allowance_comes_back_with_time():
    now = iter([0.0, 1.0, 9.9, 10.0, 10.5, 11.0])
    allowance = Allowance(2, 10.0, lambda: next(now))
    assert [allowance.spend() for _ in range(6)] == [True, True, False, True, False, True]
