"""A paid swarm on machines whose clocks are minutes apart."""

import json
import os
import subprocess
import sys

import pytest

import swarm
from harness.shifted_clock import ShiftedClock
from harness.tiny import tiny_model
from helpers import wait_until
from swarm.market.ledger.audit import audit
from swarm.wire.identity import address_of

TOKENS = 40


class OffSwarm(swarm.LocalSwarm):
    """Whose servers have another clock than this process."""

    def __init__(self, clock: ShiftedClock, *arguments: object, **options: object):
        super().__init__(*arguments, **options)
        self._clock = clock

    def start_process(self, command: list[str], env: dict[str, str], **options: object) -> subprocess.Popen:
        return subprocess.Popen(command, env=env | self._clock.environment, **options)


@pytest.fixture(scope="module")
def model():
    with tiny_model() as folder:
        yield folder


def test_text_receipts_audits_and_payments_are_as_if_all_clocks_were_right(model, book, tmp_path):
    folder, ledger = book
    hops, client = ShiftedClock(tmp_path, -590.0), ShiftedClock(tmp_path, 590.0)
    options = {"threads": 1, "ledger": folder, "price": 1000, "settle_every": 0.5}
    with OffSwarm(hops, model, ["0:1", "1:3"], **options) as local:
        command = [sys.executable, "-m", "swarm", "generate", "a prompt", "--json", "--ignore-eos", "--model", model]
        command += ["--peers", *local.peers, "--ledger", str(folder), "--allow-unstaked", "--verify", "full"]
        command += ["--audit", "local", "--max-new-tokens", str(TOKENS)]
        ran = subprocess.run(command, env=os.environ | client.environment, capture_output=True, text=True, timeout=120)
        out = json.loads(ran.stdout)
        assert wait_until(lambda: sum(account(ledger, one) for one in local.servers) == out["cost"] > 0, 20)
        said = (local.servers[0].home / "stderr").read_text()
        with swarm.Client(model, local.peers, ledger=str(folder), allow_unstaked=True, audit="off") as right:
            expected = right.generate("a prompt", max_new_tokens=TOKENS, ignore_eos=True)
    assert out["token_ids"] == expected.token_ids
    assert (out["receipts"] >= 4, out["faults"], out["verified"]) == (True, [], TOKENS)
    assert {one["verdict"] for one in out["audits"]} == {"PASS"}
    assert audit(ledger).holds
    assert "this machine's clock is 10 min ahead of the swarm's; its messages use the swarm's time" in ran.stderr
    assert "this machine's clock is 10 min behind the swarm's; its messages use the swarm's time" in said


def account(ledger, server) -> int:
    return ledger.account(address_of(server.peer_id)).available
