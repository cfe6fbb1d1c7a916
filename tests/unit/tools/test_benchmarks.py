"""What all benchmarks have in common: what is missing is said, results are kept, options are checked first."""

from harness.needs import advice

import argparse
import ast
import subprocess
import sys
from pathlib import Path

import pytest

from harness.report import COMMITTED, Report
from harness.shelf import INDEX, Shelf
from speed import options
from speed.room import Room, fitting, room_for

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
PROGRAMS = sorted([*BENCHMARKS.glob("*.py"), *BENCHMARKS.glob("*/__main__.py")])
RUN = {"date": "2030-01-31", "commit": "abc", "load": 0.5}


# --- what is missing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: str(path.relative_to(BENCHMARKS)))
def test_a_benchmark_says_what_is_missing_before_it_imports_it(path):
    imports = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in imports]
    installed = {*sys.stdlib_module_names, "psutil"}
    others = [name for name in names if name and name.partition(".")[0] not in installed]
    local = {one.stem for one in path.parent.iterdir()} if path.name == "__main__.py" else set()
    assert not others or others[0] == "harness.needs" or set(others) <= local


@pytest.mark.parametrize("script", ["kernel_times.py", "placement.py"])
def test_help_works_without_what_only_benchmarks_need(script, tmp_path):
    done = _without(["matplotlib", "scipy"], tmp_path, script, "--help")
    assert done.returncode == 0, done.stderr
    assert "--output FOLDER" in done.stdout
    assert done.stderr == ""


def test_what_is_missing_is_one_line_with_the_target_that_installs_it(tmp_path):
    done = _without(["matplotlib"], tmp_path, "kernel_times.py")
    assert done.returncode == 1
    assert done.stderr == advice("matplotlib", str(BENCHMARKS / "kernel_times.py")) + "\n"
    assert "make .venv/.ready-dev" in done.stderr


def _without(packages: list[str], folder: Path, script: str, *arguments: str) -> subprocess.CompletedProcess:
    """The script, run by an interpreter that does not find `packages`."""
    (folder / "runner.py").write_text(
        "import importlib.machinery as machinery, runpy, sys\n"
        f"gone, find = {packages!r}, machinery.PathFinder.find_spec\n"
        "def look(name, path=None, target=None):\n"
        "    return None if name.partition('.')[0] in gone else find(name, path, target)\n"
        "machinery.PathFinder.find_spec = look\n"
        "sys.argv = sys.argv[1:]\n"
        "sys.path[0] = sys.argv[0].rpartition('/')[0]\n"
        "sys.modules['__main__'].__file__ = sys.argv[0]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    command = [sys.executable, str(folder / "runner.py"), str(BENCHMARKS / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


# --- results ---------------------------------------------------------------------------------------------------------


def test_a_second_run_stays_beside_the_first_and_both_are_in_the_index(tmp_path):
    for number, name in ((1, "speed"), (2, "speed-2")):
        shelf = Shelf(tmp_path, RUN)
        path = shelf.path("speed", ".json")
        assert (path.name, shelf.path("speed", ".png").name) == (f"{name}.json", f"{name}.png")
        path.write_text(str(number))
    index = (tmp_path / INDEX).read_text().splitlines()
    assert [line.split(" | ")[0] for line in index[2:]] == ["| speed", "| speed-2"]
    assert "2030-01-31 | abc | 0.5" in index[2]


def test_what_an_earlier_run_left_is_the_last_one_and_not_this_runs_own(tmp_path):
    for text in ("one", "two"):
        Shelf(tmp_path, RUN).path("speed", ".json").write_text(text)
    shelf = Shelf(tmp_path, RUN)
    assert shelf.latest("speed").read_text() == "two"
    shelf.path("speed", ".json").write_text("three")
    assert shelf.latest("speed").read_text() == "two"
    assert Shelf(tmp_path, RUN).latest("nothing") is None


def test_the_repositorys_own_results_are_renewed_and_get_no_index(tmp_path):
    shelf = Shelf(tmp_path, RUN, replaces=True)
    shelf.path("speed", ".json").write_text("one")
    again = Shelf(tmp_path, RUN, replaces=True)
    assert again.latest("speed").read_text() == "one"
    assert again.path("speed", ".json").name == "speed.json"
    assert not (tmp_path / INDEX).exists()
    assert Report(argparse.Namespace(output=COMMITTED))._shelf._replaces


def test_a_result_says_on_what_and_how_it_is_repeated(tmp_path):
    report = Report(argparse.Namespace(output=tmp_path, rounds=3))
    report.save("speed", {"rows": [1]})
    assert Report(argparse.Namespace(output=tmp_path)).earlier("speed") == {"rows": [1]}
    assert report.machine["memory_gib"] > 0
    assert report.run["command"].startswith("python ")
    assert report.run["options"] == {"rounds": 3}


# --- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line, says",
    [
        ("--hops 0", "must be 1 or more, not 0"),
        ("--hops 31", "each peer takes one at least"),
        ("--quants int5", "invalid choice: 'int5'"),
        ("--sessions x", "'x' is not a whole number"),
        ("--contexts 9000", "the longest context is 8144"),
        ("--tokens 3", "8 are the least"),
        ("--limit 0", "above 0"),
        ("--output pyproject.toml", "no folder that can be written to"),
        ("--peers there", "there"),
        ("--duel --sessions 8", "leave out --sessions"),
        ("--model some/model", "say with --peers where"),
        ("--peers X --hops 2", "leave out --hops"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_loaded(line, says, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["tokens_per_second.py", *line.split()])
    with pytest.raises(SystemExit) as ended:
        options.parse("doc")
    assert ended.value.code == 2
    assert says in capsys.readouterr().err.splitlines()[-1]


def test_formats_that_are_asked_for_count_in_turns_as_well(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tokens_per_second.py", "--quants", "int4", "--quick"])
    args, model = options.parse("doc")
    assert options.chains(args, options.IN_TURNS) == ([2], ["int4"])
    assert options.chains(args, options.ONE_BY_ONE) == ([1, 2], ["int4"])
    assert (args.sessions, args.contexts, model.max_context) == ([1, 8], [128], 8192)


def test_a_case_for_which_there_is_no_memory_is_left_out_with_the_reason():
    gib = 2**30
    kept, left_out = fitting([(1, 128), (64, 8000)], 48, element=2, memory_bytes=16 * gib)
    assert kept == [(1, 128)]
    assert left_out[0].startswith("64 sessions, context 8000: keys and values would take 14 of this machine's 16 GiB")
    assert fitting([(64, 8000)], 48, element=0, memory_bytes=16 * gib)[1] == []
    assert room_for([(8, 128), (1, 2000)], 48) == Room(8, 2048)
