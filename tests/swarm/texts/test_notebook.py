"""The notebook for researchers, in a kernel of its own."""

import os
from pathlib import Path

import nbformat
import psutil
import pytest
from nbclient import NotebookClient

from harness.tiny import tiny_model
from helpers import wait_until

NOTEBOOK = Path(__file__).parents[3] / "examples" / "researcher.ipynb"
ALLOWED_STDERR = ("starting 3 servers of demo: ", "blocks ")  # what a LocalSwarm says while it starts


def test_the_notebook_is_kept_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) > 8
    assert not any(cell.outputs or cell.execution_count for cell in code)


@pytest.fixture
def _kernel(tmp_path, monkeypatch):
    """Kernels import what is tested here, and have a home of their own."""
    root = NOTEBOOK.parents[1]
    paths = [str(root), str(root / "kernels"), os.environ.get("PYTHONPATH", "")]
    for name, value in (("SWARM_HOME", tmp_path), ("PYTHONPATH", os.pathsep.join(filter(None, paths)))):
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))


def executed(cells: list[str], folder: Path) -> list[nbformat.NotebookNode]:
    """In a new kernel; errors end nothing."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=240, kernel_name="python3", allow_errors=True).execute(cwd=str(folder))
    return notebook.cells


@pytest.mark.slow
@pytest.mark.usefixtures("_kernel")
def test_what_goes_wrong_while_generating_is_shown_as_an_error_of_its_cell(tmp_path):
    ways = ["client.generate('x')", "client.generate(['x', 'y'])", "list(client.stream('x'))"]
    with tiny_model() as model:
        start = f"import swarm; local = swarm.LocalSwarm({model!r}, ['0:3'], threads=1); local.start()"
        end = f"client = swarm.Client({model!r}, coverage_timeout_s=0); local.servers[0].kill()"
        _, _, *cells = executed([start, end, *ways], tmp_path)
    for cell in cells:
        assert [one.output_type for one in cell.outputs] == ["error"], cell.outputs
        assert "ExceptionGroup" not in str(cell.outputs)


@pytest.mark.slow
@pytest.mark.usefixtures("_kernel")
def test_the_notebook_runs_from_its_first_cell_to_its_last(tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=240, kernel_name="python3").execute(cwd=str(tmp_path))
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    said = "".join(one.text for one in outputs if one.output_type == "stream" and one.name == "stderr")
    assert said.count("\n") == 4
    assert all(line.startswith(ALLOWED_STDERR) for line in said.splitlines()), said
    shown = str(outputs)
    assert " Paris" in shown
    assert "image/png" in shown
    assert "the LocalSwarm of this process" in shown
    assert "PASS" in shown
    assert wait_until(lambda: not any(_is_of(one, tmp_path) for one in psutil.process_iter(["environ"])), 20)


def _is_of(process: psutil.Process, home: Path) -> bool:
    """Whether it, or what started it, was given `home`."""
    return (process.info["environ"] or {}).get("IPYTHONDIR") == str(home / "ipython")
