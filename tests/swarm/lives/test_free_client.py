"""A client that asks for no receipts: servers that sign nothing, and no line of trust or money in its process."""

import json
import subprocess
import sys

import pytest

import swarm

PROMPT = "The capital of France is"

# In a program of its own, since the tests' process has long loaded everything.
GENERATE = f"""
import json, sys
import swarm
with swarm.Client("demo", sys.argv[1:], receipts=False) as client:
    out = client.generate({PROMPT!r}, max_new_tokens=8, ignore_eos=True)
loaded = [name for name in sys.modules if name.startswith(("swarm.verify", "swarm.market"))]
print(json.dumps([loaded, len(out.receipts), len(out.route), out.token_ids]))
"""


@pytest.fixture(scope="module")
def local():
    with swarm.LocalSwarm("demo", ["0:15", "15:30"], dtype="float32", threads=1, no_receipts=True) as servers:
        yield servers


def test_a_free_client_loads_nothing_of_trust_or_money_and_gets_the_same_tokens(local):
    done = subprocess.run([sys.executable, "-c", GENERATE, *local.peers], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    *told, tokens = json.loads(done.stdout.splitlines()[-1])
    assert told == [[], 0, 2]  # modules loaded, receipts, hops
    with (
        swarm.LocalSwarm("demo", ["0:15", "15:30"], dtype="float32", threads=1) as signing,
        swarm.Client("demo", signing.peers, audit="off") as client,
    ):
        assert client.generate(PROMPT, max_new_tokens=8, ignore_eos=True).token_ids == tokens


def test_a_free_client_cannot_verify(local):
    refusal = "verify checks work by its receipts"
    with (
        swarm.Client("demo", local.peers, receipts=False) as client,
        pytest.raises(swarm.InvalidRequest, match=refusal),
    ):
        client.generate(PROMPT, max_new_tokens=2, verify="receipts")
