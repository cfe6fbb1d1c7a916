"""Whatever is ordered and whenever the process dies: no credit comes from nowhere or is lost, nothing is half done."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from ledger_crashes import FragileWorld
from ledger_trials import KINDS, Pair, Trial, digest
from ledgers import BACKENDS, KEYS, RULES
from swarm.errors import PeerUnreachable
from swarm.market.ledger.audit import audit
from swarm.market.ledger.ledger import Account
from swarm.market.ledger.sqlite import SqliteLedger
from swarm.wire.identity import keccak256

STEPS = 50


class Machine(RuleBasedStateMachine):
    """Every operation, legal or not, on the ledger and on its model."""

    def __init__(self):
        super().__init__()
        self._folder = TemporaryDirectory()
        self._world = FragileWorld(Path(self._folder.name) / "ledger.db", RULES)
        self._pair = Pair(self._world)
        self._pair.endow()

    @rule(kind=st.sampled_from(KINDS), random=st.randoms(use_true_random=False))
    def order(self, kind: str, random: Random):
        trial = Trial(self._pair, random)
        trial.step(kind)
        assert not trial.violations

    def teardown(self):
        assert audit(self._world.file).problems == ()
        self._world.shut()
        self._folder.cleanup()


TestOperations = Machine.TestCase
TestOperations.settings = settings(max_examples=40, stateful_step_count=STEPS, deadline=None)


def run(world, seed: int, count: int, crashes: bool = False) -> Trial:
    random, pair = Random(seed), Pair(world)
    trial = Trial(pair, random)
    pair.endow()
    for _ in range(count):
        trial.step(random.choice(KINDS), crashes)
    return trial


@pytest.mark.parametrize(
    ("backend", "count"),
    [("sqlite", 200), ("remote", 100), ("evm", 20), pytest.param("evm", 300, marks=pytest.mark.slow)],
)
def test_random_operations_do_what_the_model_says(backend, count, tmp_path):
    with BACKENDS[backend](tmp_path, RULES) as world:
        trial = run(world, seed=1, count=count)
    assert trial.violations == []
    assert 0.2 < trial.counts["refused"] / trial.counts["operations"] < 0.8


def test_an_operation_is_done_as_a_whole_or_not_at_all_wherever_its_process_dies(tmp_path):
    world = FragileWorld(tmp_path / "ledger.db", RULES)
    trial = run(world, seed=2, count=80, crashes=True)
    world.shut()
    assert trial.violations == []
    assert trial.counts["crashes"] > 5 * trial.counts["operations"]
    assert audit(world.file).problems == ()


def test_a_full_disk_refuses_and_changes_nothing(tmp_path):
    world = FragileWorld(tmp_path / "ledger.db", RULES)
    payload = bytes(50_000)
    world.alice.commit(1, keccak256(payload))
    world.issuer.end_commits(1)
    (pages,) = world.connection.execute("PRAGMA page_count").fetchone()
    world.connection.execute(f"PRAGMA max_page_count = {pages}")
    before = digest(world)
    with pytest.raises(PeerUnreachable, match="disk is full"):
        world.alice.reveal(1, payload)
    assert digest(world) == before
    world.connection.execute(f"PRAGMA max_page_count = {pages + 100}")
    world.alice.reveal(1, payload)
    assert audit(world.file).holds
    world.shut()


_STREAM = """
import sys
from pathlib import Path
from swarm.market.ledger.sqlite import SqliteLedger
from swarm.wire.identity import Identity
ledger = SqliteLedger(Path(sys.argv[1]), Identity(bytes.fromhex(sys.argv[2])))
while True:
    channel = ledger.open_channel(bytes(20), 3)
    ledger.top_up(channel.id, 4)
    print(channel.id.hex(), flush=True)
"""


def test_what_was_answered_survives_the_process_being_killed(tmp_path):
    file, random = tmp_path / "ledger.db", Random(3)
    secret = b"alice".rjust(32, b"\1").hex()
    with_money = SqliteLedger(file, KEYS["alice"])
    with_money.mint(KEYS["alice"].address, 10**9)
    with_money.shut()
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", _STREAM, file, secret], stdout=subprocess.PIPE, text=True)
        answered = [bytes.fromhex(process.stdout.readline())]
        time.sleep(random.random() * 0.1)
        os.kill(process.pid, signal.SIGKILL)
        answered += [bytes.fromhex(line) for line in process.stdout if len(line) == 65]
        process.wait()
        assert audit(file).problems == ()
        ledger = SqliteLedger(file, KEYS["alice"])
        channels = {channel.id: channel for channel in ledger.channels()}
        assert all(channels[id].deposit == 7 for id in answered)
        escrowed = sum(channel.deposit for channel in channels.values())
        assert ledger.account() == Account(10**9 - escrowed, escrowed)
        ledger.shut()
