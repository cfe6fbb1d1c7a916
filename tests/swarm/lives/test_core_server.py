"""A server that works for nothing and signs nothing is the core alone."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

import swarm
from helpers import wait_until
from swarm.client.local_swarm import LocalServer
from swarm.errors import InvalidRequest
from swarm.market.billing import BillingOptions
from swarm.market.pricing.modes import make_pricing
from swarm.server.config import ServerConfig

TELLING = str(Path(__file__).parents[2] / "support" / "telling_server.py")
PROMPT = {"prompt": "The capital of France is", "max_new_tokens": 8, "ignore_eos": True}


@pytest.fixture
def told(tmp_path, monkeypatch) -> Path:
    """Where a server writes what it has imported. It is started plainly, in an interpreter of its own."""
    monkeypatch.setenv("TOLD_FILE", str(tmp_path / "imported"))
    monkeypatch.setattr(swarm.LocalSwarm, "start_process", staticmethod(subprocess.Popen))
    monkeypatch.setattr(swarm.LocalSwarm, "program", (TELLING,))
    return tmp_path / "imported"


def imported(server: LocalServer, told: Path) -> set[str]:
    os.kill(server.pid, signal.SIGUSR1)
    assert wait_until(told.exists, timeout_s=20)
    return {name for name in told.read_text().split() if name.startswith(("swarm.verify", "swarm.market"))}


def test_it_serves_tokens_without_a_line_of_verification_or_money(told):
    with (
        swarm.LocalSwarm("demo", ["0:30"], threads=1, kv_memory="64M", no_receipts=True) as local,
        swarm.Client("demo", local.peers, receipts=False) as client,
        swarm.Client("demo", local.peers, coverage_timeout_s=0.0) as asking_for_receipts,
    ):
        assert client.generate(**PROMPT).text.startswith(" Paris")
        with pytest.raises(swarm.NoRoute, match="signs for its work"):
            asking_for_receipts.generate(**PROMPT)
        assert imported(local.servers[0], told) == set()


def test_a_server_that_is_paid_signs_for_its_work():
    billing = BillingOptions("ledger", make_pricing("fixed"))
    with pytest.raises(InvalidRequest, match="a server that is paid signs"):
        ServerConfig(billing=billing, receipts=False)
