"""What the pages name is there: files, tests, links, targets of make and verbs."""

import re
import sys
from pathlib import Path

import pytest

from swarm import __main__ as command

ROOT = Path(__file__).parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")])
ABBREVIATED = ROOT / "docs" / "ARCHITECTURE.md"  # in it, `session/hop.py` is swarm/session/hop.py
NO_FILES = ("benchmarks/out/", "benchmarks/NAME.py", "swarm/peer-record/v1")
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def quoted(page: Path, pattern: str) -> set[str]:
    """What stands in backticks and is all of `pattern`."""
    return set(re.findall(rf"`({pattern})`", page.read_text()))


@each_page
def test_files_that_a_page_names_are_there(page):
    folders = [ROOT, ROOT / "swarm", ROOT / "swarm/server"] if page == ABBREVIATED else [ROOT]
    prefixes = r"(?:swarm|kernels|benchmarks|tests|docs|examples)"
    names = quoted(page, rf"{prefixes}/[\w/.-]*") | set(re.findall(rf"python ({prefixes}/[\w/.]+)", page.read_text()))
    if page == ABBREVIATED:
        names |= quoted(page, r"[\w]+/[\w/.]+\.\w+")
    missing = {name for name in names if not any((folder / name).exists() for folder in folders)}
    assert not {name for name in missing if not name.startswith(NO_FILES)}


@each_page
def test_links_of_a_page_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)(#[\w-]+)?\)", page.read_text())
    missing = [link for link, _ in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


@each_page
def test_headings_that_a_page_links_to_are_there(page):
    for link, heading in re.findall(r"\]\(([^)#\s]*)#([\w-]+)\)", page.read_text()):
        if "://" not in link:
            text = (page.parent / link).read_text() if link else page.read_text()
            headings = {re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-")
                        for line in text.splitlines() if line.startswith("#")}  # fmt: skip
            assert heading in headings, f"{link}#{heading}"


@each_page
def test_tests_that_a_page_names_are_there(page):
    sources = {path.name: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    everything = "\n".join(sources.values())
    missing = {name for name in quoted(page, r"test_\w+\.py") if name not in sources}
    missing |= {
        name for name in quoted(page, r"test_\w+(?:\[[\w-]+\])?") if f"def {name.split('[')[0]}(" not in everything
    }
    for name in quoted(page, r"test_\w+\.py::test_\w+"):
        file, test = name.split("::")
        if f"def {test}(" not in sources.get(file, ""):
            missing.add(name)
    assert not missing


@each_page
def test_verbs_and_targets_that_a_page_names_are_there(page, capsys, monkeypatch):
    text = page.read_text()
    monkeypatch.setattr(sys, "argv", ["swarm", "--help"])
    assert command.main() == 0
    verbs = {"help", *re.findall(r"^  ([a-z]+) ", capsys.readouterr().out, re.MULTILINE)}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= targets
    assert set(re.findall(r"python -m swarm ([a-z]+)", text)) <= verbs
