"""The program from outside: verbs, help, completion, pipes, and what is missing."""

import os
import shlex
import shutil
import subprocess
import sys

import pytest

from swarm import program
from swarm.cli.entry.verbs import VERBS
from swarm.cli.support import exits
from swarm.version import __version__

SWARM = f"{sys.executable} -m swarm"


@pytest.fixture
def shell(tmp_path):
    def run(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        plain = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        plain |= {"SWARM_HOME": str(tmp_path), **environment}
        return subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=90, env=plain)

    return run


@pytest.mark.parametrize("words", ["--version", "-V", "version"])
def test_it_says_which_version_it_is(shell, words):
    assert shell(f"{SWARM} {words}").stdout.split() == ["swarm-inference", __version__]


@pytest.mark.parametrize("words", ["help ledger stake", "ledger stake help", "ledger stake --help"])
def test_help_is_asked_for_in_any_order(shell, words):
    result = shell(f"{SWARM} {words}")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("usage: python -m swarm ledger stake ")
    assert "take back what has been unbonding" in result.stdout


def test_the_help_names_all_verbs_and_needs_nothing_heavy(shell):
    result = shell(f"{sys.executable} -X importtime -m swarm help")
    assert all(f"  {name} " in result.stdout for name in VERBS)
    assert not any(f" {name}\n" in result.stderr for name in ("torch", "rich", "coincurve", "grpc"))


@pytest.mark.parametrize(("words", "message"), [
    ("genrate x", "did you mean generate?"), ("xyz", "the verbs are server"), ("help statsu", "did you mean status?"),
])  # fmt: skip
def test_an_unknown_verb_is_named_with_the_nearest(shell, words, message):
    result = shell(f"{SWARM} {words}")
    assert result.returncode == exits.WRONG
    assert result.stderr.startswith("error: unknown verb ") and message in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("program_name", ["swarm server", "swarm.server"])
def test_a_server_tells_what_is_wrong_as_an_event_too(shell, program_name):
    result = shell(f"{sys.executable} -m {program_name} --json --quant int5")
    assert result.returncode == exits.WRONG
    assert result.stdout.startswith('{"event": "error", "code": "InvalidRequest"')
    assert result.stderr.count("\n") == 1


def test_what_to_type_is_what_the_program_was_started_by(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/venv/lib/swarm/__main__.py"])
    assert program.command("server", "--model", "a b") == "python -m swarm.server --model 'a b'"
    assert program.command("status") == "python -m swarm status"
    monkeypatch.setattr(sys, "argv", ["/venv/bin/swarm"])
    assert program.command("server", "--port", "0") == "swarm server --port 0"


@pytest.mark.parametrize("environment", [{}, {"PYTHONUNBUFFERED": "1"}], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize(
    "words", ["--help", "server --help", "config", "ledger history --all", "secret", "completion bash"]
)
def test_whoever_reads_no_further_ends_every_verb_in_the_same_way(shell, words, environment):
    result = shell(f"(sleep 0.3; exec {SWARM} {words}) | true; exit ${{PIPESTATUS[0]}}", **environment)
    assert (result.returncode, result.stderr) == (exits.UNREAD, "")


@pytest.mark.parametrize("environment", [{}, {"PYTHONUNBUFFERED": "1"}], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("words", ["--help", "server --help", "config"])
def test_a_full_disk_is_one_line(shell, words, environment):
    result = shell(f"{SWARM} {words} > /dev/full", **environment)
    assert result.returncode == exits.FAILED
    assert "No space left on device" in result.stderr and result.stderr.count("\n") == 1


def test_a_package_that_is_missing_is_one_line_that_says_where_it_may_be(shell, tmp_path):
    (tmp_path / "uvloop.py").write_text("raise ModuleNotFoundError(\"No module named 'uvloop'\", name='uvloop')")
    result = shell(f"{SWARM} status", PYTHONPATH=f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    assert result.returncode == exits.FAILED
    assert result.stderr.startswith("error: the package uvloop is missing: activate the environment")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(("typed", "offered"), [
    ("", {"generate", "config", "server"}), ("ge", {"generate"}), ("generate --max-n", {"--max-new-tokens"}),
    ("generate --quant in", {"int8", "int4", "int4-g64"}), ("ledger stake b", {"bond"}), ("help", set()),
    ("identity ex", {"export"}), ("server --quant int8 --thr", {"--threads"}),
])  # fmt: skip
def test_bash_completes_verbs_options_and_values(shell, typed, offered):
    words = " ".join(f"'{word}'" for word in ["swarm", *typed.split(" ")])
    completes = f"""
source <({SWARM} completion bash)
COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMPREPLY=()
_shtab_swarm swarm "${{COMP_WORDS[COMP_CWORD]}}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    result = shell(completes)
    assert result.stderr == ""
    assert offered <= set(result.stdout.split()) and (typed == "" or len(result.stdout.split()) == len(offered))


@pytest.mark.parametrize(("name", "begins"), [("zsh", "#compdef swarm"), ("fish", "#")])
def test_other_shells_have_scripts_too(shell, name, begins):
    result = shell(f"{SWARM} completion {name}")
    assert result.returncode == 0 and result.stdout.startswith(begins) and "max-new-tokens" in result.stdout


def test_a_script_that_zsh_sources_is_kept_and_not_carried_out(shell):
    script = shell(f"{SWARM} completion zsh").stdout
    assert "if [[ $zsh_eval_context[-1] == (eval|file) ]]; then" in script


@pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh")
def test_zsh_takes_the_script_as_the_page_says(shell):
    taken = f"autoload -Uz compinit; compinit -D -u; source <({SWARM} completion zsh); print $_comps[swarm]"
    result = shell(f"zsh -f -c {shlex.quote(taken)}")
    assert (result.stdout, result.stderr) == ("_shtab_swarm\n", "")


@pytest.mark.skipif(shutil.which("fish") is None, reason="there is no fish")
def test_fish_takes_the_script_as_the_page_says(shell):
    result = shell(f"{SWARM} completion fish | fish --no-config -c 'source; complete -C \"swarm ge\"'")
    assert result.stdout.startswith("generate\t") and result.stderr == ""
