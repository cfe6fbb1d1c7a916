"""Peers of the last version and of this one in one swarm: docs/wire.md promises that text flows, and is the same.

The last version is the newest one of CHANGELOG.md that has a commit. Its wheel is built from the repository's history.
"""

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import swarm

ROOT = Path(__file__).parents[3]
PROMPT = "The capital of France is"
NEW_TOKENS = 12
CLIENT = """
import json, sys, swarm
with swarm.Client("demo", peers=[sys.argv[1]], dtype="float32", audit="off") as client:
    out = client.generate(sys.argv[2], max_new_tokens=int(sys.argv[3]))
print(json.dumps([swarm.__file__, out.text, [list(hop.blocks) for hop in out.route]]))
"""


def git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, check=False)


@pytest.fixture(scope="module")
def last_version(tmp_path_factory) -> Path:
    """A folder with the packages of the last version's wheel, to stand in PYTHONPATH."""
    version, commit = re.search(
        r"^## ([\d.]+): commit (\w+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    ).groups()
    archive = git("archive", commit)
    if archive.returncode:
        pytest.skip(
            f"version {version} is commit {commit}, which is not in this clone (git fetch --unshallow brings it)"
        )
    source, built, packages = (tmp_path_factory.mktemp(name) for name in ("source", "wheel", "packages"))
    subprocess.run(["tar", "-x", "-C", str(source)], input=archive.stdout, check=True)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    subprocess.run([*command, "--wheel-dir", str(built), str(source)], check=True)
    (wheel,) = built.glob("*.whl")
    assert f"-{version}-" in wheel.name
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(packages)
    return packages


def environment(packages: Path, home: Path) -> dict[str, str]:
    """Of a process that uses `packages`, wherever this one's come from."""
    return {**os.environ, "PYTHONPATH": str(packages), "SWARM_HOME": str(home)}


@contextmanager
def old_server(packages: Path, home: Path, blocks: str, peers: list[str]) -> Iterator[None]:
    """Of the last version, from when it is ready."""
    command = [sys.executable, "-m", "swarm.server", "--model", "demo", "--blocks", blocks, "--dtype", "float32"]
    command += ["--threads", "1", "--kv-memory", "256M", "--json", "--exit-with-parent", "--peers", *peers]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=home, env=environment(packages, home), **pipes) as process:
        try:
            events = (json.loads(line) for line in process.stdout)
            assert any(event["event"] == "ready" for event in events), "it ended before it was ready"
            yield
        finally:
            process.kill()


def old_client(packages: Path, home: Path, peers: list[str]) -> tuple[str, list[list[int]]]:
    """Text and route of a generation by the last version's client."""
    command = [sys.executable, "-c", CLIENT, peers[0], PROMPT, str(NEW_TOKENS)]
    out = subprocess.run(command, cwd=home, env=environment(packages, home), stdout=subprocess.PIPE, check=True).stdout
    where, text, route = json.loads(out.splitlines()[-1])
    assert Path(where).is_relative_to(packages), f"not the last version, but {where}"
    return text, route


def new_client(peers: list[str]) -> tuple[str, list[list[int]]]:
    with swarm.Client("demo", peers=peers, dtype="float32", audit="off") as client:
        out = client.generate(PROMPT, max_new_tokens=NEW_TOKENS)
    assert not out.faults and {signed.blocks for signed in out.receipts} == {hop.blocks for hop in out.route}
    return out.text, [list(hop.blocks) for hop in out.route]


def test_a_chain_of_both_versions_gives_clients_of_both_the_same_text(
    last_version, tmp_path, reference_model, demo_tokenizer
):
    ids = demo_tokenizer(PROMPT, return_tensors="pt").input_ids
    tokens = reference_model.generate(ids, max_new_tokens=NEW_TOKENS, do_sample=False)[0, ids.shape[1] :]
    expected = demo_tokenizer.decode(tokens), [[0, 10], [10, 20], [20, 30]]  # this version, the last, this
    with (
        swarm.LocalSwarm("demo", ["0:10", "20:30"], dtype="float32", threads=1, kv_memory="256M") as local,
        old_server(last_version, tmp_path, "10:20", local.peers),
    ):
        assert new_client(local.peers) == expected
        assert old_client(last_version, tmp_path, local.peers) == expected
