"""The wheel works without a checkout: `swarm` on the PATH, one command to serve and one to generate."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import packaged
import pytest

pytestmark = pytest.mark.slow
READY_S = 120


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return packaged.build_wheel(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """An environment with the wheel; what that depends on lies in this one."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    install = [folder / "bin" / "pip", "install", "--quiet", "--no-deps", wheel]
    subprocess.run(install, check=True, env=foreign_environment())
    (site_packages,) = folder.glob("lib/python*/site-packages")
    (site_packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")  # behind its own
    return folder


def foreign_environment() -> dict[str, str]:
    """Without a word of this checkout."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "SWARM", "VIRTUAL"))}


@pytest.fixture
def environment(installed, tmp_path) -> dict[str, str]:
    """Of a user who has nothing of this project but the wheel."""
    path = f"{installed / 'bin'}:/usr/bin:/bin"
    return {**foreign_environment(), "PATH": path, "SWARM_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}


def test_it_has_all_files_that_belong_into_it_and_no_others(wheel):
    assert packaged.faults(wheel) == []


def test_from_an_empty_folder_one_command_serves_one_generates_and_one_ends_it(installed, environment, tmp_path):
    def run(*command: str) -> str:
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=READY_S, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = "import swarm, swarm_kernels; print(swarm.__file__, swarm_kernels.__file__)"
    assert all(str(installed) in file for file in run("python", "-c", where).split())
    assert run("swarm", "--help") == run("python", "-m", "swarm", "--help")
    serving = ["swarm", "server", "--quant", "int4", "--threads", "1", "--json"]
    with subprocess.Popen(serving, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        assert next(json.loads(line) for line in server.stdout if '"ready"' in line)["blocks"] == [0, 30]
        assert "Paris" in run("swarm", "generate", "The capital of France is", "--max-new-tokens", "4")
        assert f"process {server.pid}" in run("swarm", "stop")
        assert server.wait(timeout=10) == 0
