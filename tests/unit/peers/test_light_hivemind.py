"""hivemind's DHT comes without the rest of hivemind, and the rest is there for whoever asks."""

import json
import subprocess
import sys
from importlib.metadata import version

import hivemind
import pytest

HEAVY = ("torch", "scipy", "pydantic", "numpy", "hivemind.averaging", "hivemind.optim", "hivemind.moe")
TELL = f"import json, sys; print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
NODE = "import swarm.peers.dht.node"


def heavy_after(*lines: str) -> list[str]:
    """Which of HEAVY a program has imported that consists of these lines."""
    program = "\n".join([*lines, TELL])
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def test_a_node_of_the_dht_comes_without_torch_and_training_code():
    assert heavy_after(NODE) == []


def test_so_does_the_whole_directory():
    assert heavy_after("import swarm.peers.directory, swarm.peers.status.survey") == []


@pytest.mark.parametrize(
    "line",
    [
        "import hivemind; hivemind.DHT; hivemind.Optimizer",
        "from hivemind import *; DHT",
        "from hivemind.utils import MPFuture, TensorDescriptor, get_dht_time",
        f"import hivemind; assert hivemind.__version__ == {version('hivemind')!r}",
    ],
)
def test_a_program_beside_it_has_all_of_hivemind(line):
    assert "torch" in heavy_after(NODE, line)


def test_what_both_use_is_the_same():
    same = "import hivemind; from hivemind.dht.node import DHTNode; assert hivemind.dht.DHTNode is DHTNode"
    assert "torch" in heavy_after(NODE, same, "from hivemind.dht.dht import DHT; assert hivemind.DHT is DHT")


def test_threads_that_ask_for_the_rest_at_the_same_time_all_get_it():
    assert "torch" in heavy_after(
        NODE,
        "import hivemind",
        "from concurrent.futures import ThreadPoolExecutor",
        "with ThreadPoolExecutor(4) as pool: found = list(pool.map(lambda _: hivemind.Optimizer, range(4)))",
        "assert len(set(found)) == 1",
    )


def test_who_has_imported_hivemind_already_keeps_it():
    whole = "import hivemind; before = hivemind.DHT"
    assert "hivemind.averaging" in heavy_after(whole, NODE, "assert hivemind.DHT is before")


def test_a_hivemind_that_is_laid_out_otherwise_is_imported_as_a_whole():
    """As if none of the names were where they are expected."""
    otherwise = "from swarm.peers.dht import light_hivemind; light_hivemind._PACKAGES['hivemind.utils'].clear()"
    assert "torch" in heavy_after(otherwise, NODE)


def test_it_was_written_for_the_hivemind_that_is_installed():
    assert hivemind.__version__ == version("hivemind") == "1.1.12", "see whether swarm.peers.dht.light_hivemind fits"
