"""Cheats that have credits at stake, on real servers with a real ledger: who loses what, and who gets it."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgpack
import pytest

import swarm
from helpers import wait_until
from swarm.cli.ledger import verbs as command
from swarm.cli.support.exits import FAILED, REFUTED, WRONG
from swarm.client.local_swarm import LocalServer
from swarm.errors import NoRoute
from swarm.home import client_identity
from swarm.market.ledger.audit import audit
from swarm.market.ledger.ledger import Account, Ledger
from swarm.market.ledger.opening import open_ledger
from swarm.verify.audit.judging.judgement import Judgement, Verdict
from swarm.verify.fraud.evidence import Bundle
from swarm.wire.formats.amounts import CREDIT
from swarm.wire.identity import Identity, address_of

CHEATING = str(Path(__file__).parents[2] / "support" / "trust" / "cheating_server.py")
PROMPT, OPTIONS = "The capital of France is", {"max_new_tokens": 8, "ignore_eos": True}
STAKE = CREDIT // 10


class Market(swarm.LocalSwarm):
    """Blocks 0:2, 2:4 and 4:30 on an honest server each, and a ledger of which this user is issuer and arbiter."""

    folder: Path
    ledger: Ledger
    cheat_file: Path

    @property
    def honest(self) -> LocalServer:
        return self.servers[1]

    @contextmanager
    def server(self, **options: object) -> Iterator[LocalServer]:
        """One for blocks 2:4, which does as the cheat file says."""
        server = self.start("2:4", **options)
        try:
            yield server
        finally:
            server.kill()
            self.servers.remove(server)

    def stake_of(self, server: LocalServer) -> Account:
        return self.ledger.account(address_of(server.peer_id))

    def chain(self, middle: LocalServer) -> list[swarm.Hop]:
        hops = self.servers[0], middle, self.servers[2]
        return [swarm.Hop(server.peer_id, server.blocks, "") for server in hops]


@pytest.fixture(scope="module")
def market(tmp_path_factory) -> Iterator[Market]:
    home = tmp_path_factory.mktemp("market")
    ledger = open_ledger(str(home / "ledger"), client_identity())
    options = {"dtype": "bfloat16", "threads": 1, "kv_memory": "32M", "price": 100, "settle_every": 0.5}
    with (
        pytest.MonkeyPatch.context() as patch,
        Market("demo", ["0:2", "2:4", "4:30"], ledger=home / "ledger", stake="0.1", **options) as local,
    ):
        patch.setenv("CHEAT_FILE", str(home / "cheat"))
        local.program = (CHEATING,)
        local.folder, local.ledger, local.cheat_file = home / "ledger", ledger, home / "cheat"
        yield local
    ledger.shut()


@pytest.fixture
def run(market, capsys) -> Callable[..., str]:
    """A verb of `python -m swarm ledger`, by the arbiter; returns what it prints."""

    def run(*arguments: object, status: int = 0) -> str:
        assert command.main([*map(str, arguments), "--ledger", str(market.folder)]) == status
        output = capsys.readouterr()
        return output.err if status in (FAILED, WRONG) else output.out

    return run


@contextmanager
def client_of(market: Market, home: Path, **options: object) -> Iterator[swarm.Client]:
    """Somebody else than the arbiter, with a credit to spend."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWARM_HOME", str(home))
        market.ledger.mint(client_identity().address, CREDIT)
        client = swarm.Client("demo", market.peers, ledger=str(market.folder), **options)
    with client:
        yield client


def finder(home: Path) -> bytes:
    """The address of the client at that home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWARM_HOME", str(home))
        return client_identity().address


def rewards(market: Market, who: bytes) -> list[int]:
    """What somebody got for reporting others."""
    entries = [entry for entry in market.ledger.history(who) if entry.kind.startswith("slash")]
    return [line.amount for entry in entries for line in entry.postings if line.address == who]


# --- who is used -----------------------------------------------------------------------------------------------------


def test_a_paid_server_without_stake_is_not_chosen_unless_the_client_says_so(market, tmp_path):
    with market.server(stake="0") as bare:
        terms = {"excluded": [market.honest.peer_id], "coverage_timeout_s": 0.1}
        lacks = rf"blocks 2:4 are served by (.|\n)*{bare.peer_id[-8:]} has too little at stake, 0 of 0.00256"
        with client_of(market, tmp_path / "careful", **terms) as client, pytest.raises(NoRoute, match=lacks):
            client.generate(PROMPT, **OPTIONS)
        with client_of(market, tmp_path / "bold", **terms, allow_unstaked=True) as client:
            assert bare.peer_id in {hop.peer_id for hop in client.generate(PROMPT, **OPTIONS).route}
        assert market.ledger.channels(payee=address_of(bare.peer_id), payer=finder(tmp_path / "careful")) == []


# --- equivocation ----------------------------------------------------------------------------------------------------


def test_who_signs_two_stories_loses_all_its_stake_to_the_client_that_found_it(market, tmp_path):
    """Also what it is taking back; half is the finder's, half is burned, and the book shows it."""
    burned = market.ledger.supply().burned
    with market.server(stake="0.1") as cheat:
        market.cheat_file.write_text("equivocate")
        with client_of(market, tmp_path, audit="off") as client:
            client.generate(PROMPT, **OPTIONS, through=market.chain(cheat))
            assert client.parts.router.table.reputation.is_convicted(cheat.peer_id)
            assert wait_until(lambda: market.stake_of(cheat).staked == 0, timeout_s=20)
        market.cheat_file.unlink()
        assert rewards(market, finder(tmp_path)) == [STAKE // 2]
        assert market.ledger.supply().burned == burned + STAKE // 2
    report = audit(market.ledger)
    assert report.holds
    assert report.accounts[address_of(cheat.peer_id)].staked == 0


# --- wrong results ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def accused(market, tmp_path_factory) -> tuple[LocalServer, Path, Path]:
    """A server that served int4 for bfloat16 and begins to take its stake back; the evidence; its accuser's home."""
    home = tmp_path_factory.mktemp("accuser")
    with market.server(stake="0.1") as cheat:
        market.cheat_file.write_text("int4-as-bf16")
        with client_of(market, home, audit="local", audit_rate=1.0) as client:
            client.generate(PROMPT, **OPTIONS, through=market.chain(cheat))
            client.wait_for_audits()
            assert client.parts.router.table.reputation.is_convicted(cheat.peer_id)
        market.cheat_file.unlink()
        own = open_ledger(str(market.folder), Identity.load_or_create(cheat.home / "identities" / "0.key"))
        own.unbond(STAKE // 2)
        own.shut()
    (file,) = (home / "evidence").glob(f"{cheat.peer_id[-8:]}-*")
    return cheat, file, home


def resigned(data: bytes, by: Identity, **changes: object) -> bytes:
    """The same evidence by another accuser."""
    return replace(Bundle.decode(data), **changes).encode(by)


def test_evidence_that_is_forged_or_garbled_costs_the_accused_nothing(market, accused, run, tmp_path):
    cheat, file, _ = accused
    before, data, bad = market.stake_of(cheat), file.read_bytes(), tmp_path / "bad"
    version, payload, _, signature = msgpack.unpackb(data)
    model, revision, receipts, first, columns, inputs, outputs = msgpack.unpackb(payload)
    other = bytes([inputs[0] ^ 1]) + inputs[1:]
    changed = msgpack.packb([model, revision, receipts, first, columns, other, outputs])
    honest = Identity()
    forgeries = [
        b"", b"garbage", data[:-1], data[: len(data) // 2],
        msgpack.packb([version, payload, honest.peer_id, signature]),  # in somebody else's name
        msgpack.packb([version, changed, honest.peer_id, honest.sign(b"swarm/evidence/v1", changed)]),  # other inputs
    ]  # fmt: skip
    for forgery in forgeries:
        bad.write_bytes(forgery)
        assert str(bad) in run("slash", bad, status=1)
    assert "cannot be read" in run("slash", tmp_path / "nowhere", status=1)
    assert market.stake_of(cheat) == before


def test_nobody_but_the_arbiter_slashes_for_evidence(market, accused, capsys, tmp_path, monkeypatch):
    cheat, file, _ = accused
    before = market.stake_of(cheat)
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    assert command.main(["slash", str(file), "--ledger", str(market.folder)]) == 1
    assert "only this ledger's arbiter" in capsys.readouterr().err
    assert market.stake_of(cheat) == before


def test_the_arbiter_computes_evidence_again_and_slashes_once_also_what_is_unbonding(market, accused, run, tmp_path):
    cheat, file, home = accused
    assert market.stake_of(cheat).unbonding == STAKE // 2
    assert json.loads(run("slash", file, "--json")) == {"accused": cheat.peer_id, "slashed": STAKE}
    assert market.stake_of(cheat).staked == market.stake_of(cheat).unbonding == 0
    assert rewards(market, finder(home)) == [STAKE // 2]

    assert "nothing at stake" in run("slash", file, status=1)
    market.ledger.mint(address_of(cheat.peer_id), STAKE)
    own = open_ledger(str(market.folder), Identity.load_or_create(cheat.home / "identities" / "0.key"))
    own.bond(STAKE)
    own.shut()
    again = tmp_path / "again"
    again.write_bytes(resigned(file.read_bytes(), Identity(), model="another name"))
    for form in (file, again):
        assert "was done before" in run("slash", form, status=1)
    assert market.stake_of(cheat).staked == STAKE
    assert audit(market.ledger).holds


async def _lie(case: object) -> Judgement:
    return Judgement(Verdict.FAIL, "exact", 1.0, "wrong, says a liar")


def test_evidence_of_honest_work_slashes_neither_the_accused_nor_anybody_else(market, run, tmp_path):
    """A liar signs an honest server's work as evidence."""
    with client_of(market, tmp_path, audit="local", audit_rate=1.0) as client:
        client.parts.trust.auditing._examiner.local.judge = _lie
        client.generate(PROMPT, **OPTIONS, through=market.chain(market.honest))
        client.wait_for_audits()
    for server in market.servers:
        (file,) = tmp_path.glob(f"evidence/{server.peer_id[-8:]}-*")
        assert "NOT CONVICTED" in run("slash", file, status=REFUTED)
    assert all(market.stake_of(server).staked == STAKE for server in market.servers)


# --- the arbiter that never sleeps -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_arbiter_hears_of_evidence_computes_it_again_and_slashes_though_the_cheat_unbonds(
    market, tmp_path, monkeypatch
):
    monkeypatch.setattr("swarm.peers.table.REFRESH_S", 0.3)
    monkeypatch.setattr("swarm.verify.fraud.inbox.LOOK_EVERY_S", 0.3)
    with market.server(stake="0.1") as cheat:
        with swarm.Client("demo", market.peers, ledger=str(market.folder), audit="off", allow_unstaked=True) as arbiter:
            arbiter.arbitrate()
            own = open_ledger(str(market.folder), Identity.load_or_create(cheat.home / "identities" / "0.key"))
            market.cheat_file.write_text("int4-as-bf16")
            with client_of(market, tmp_path, audit="local", audit_rate=1.0) as client:
                client.generate(PROMPT, **OPTIONS, through=market.chain(cheat))
                client.wait_for_audits()
                market.cheat_file.unlink()
                own.unbond(STAKE)
                assert wait_until(lambda: market.stake_of(cheat).unbonding == 0, timeout_s=60)
            own.shut()
        assert rewards(market, finder(tmp_path)) == [STAKE // 2]
        assert market.stake_of(market.honest).staked == STAKE
