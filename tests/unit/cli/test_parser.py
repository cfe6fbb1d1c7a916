"""Wrong command lines: one line each, which says what was meant, and before anything heavy is imported."""

import subprocess
import sys
from pathlib import Path

import pytest

import swarm
from swarm.cli.entry.verbs import VERBS, make_parser
from swarm.cli.parsers import words as light
from swarm.cli.support import exits, parsing
from swarm.cli.support.parser import WrongUsage
from swarm.cli.support.terminal import check
from swarm.client.config import AUDITORS
from swarm.errors import (
    InvalidRequest,
    LedgerRefusal,
    ModelError,
    NoRoute,
    PeerBusy,
    PeerUnreachable,
    PrivateSwarm,
    RevisionMismatch,
    UnusableFile,
)
from swarm.verify.audit.auditing import LOCAL, PEERS
from swarm.verify.audit.judging.judgement import SEGMENT
from swarm.wire.codec import DTYPES

WRONG = {
    "generate --max-tokens 5 x": "did you mean --max-new-tokens?",
    "generate -n 5 x": "did you mean --max-new-tokens?",
    "generate --n-predict=5 x": "unknown option --n-predict; did you mean --max-new-tokens?",
    "generate --max_new_tokens 5 x": "did you mean --max-new-tokens?",
    "generate --max 5 x": "ambiguous option: --max could match --max-price, --max-new-tokens",
    "generate -m demo x": "did you mean --model?",
    "generate --model-path demo x": "did you mean --model?",
    "generate --qant int4 x": "did you mean --quant?",
    "generate --quant int5 x": "did you mean int8?",
    "generate --wait nan x": "--wait must be a number of seconds",
    "generate --wait -1 x": "0 or more, not -1",
    "generate --max-new-tokens 0 x": "--max-new-tokens must be positive, not 0",
    "generate --max-new-tokens few x": "'few' is not a whole number",
    "generate --top-p most x": "'most' is not a number",
    "generate --top-p 90 x": "--top-p must be a share above 0, and 1 at most (0.90 for 90 %), not 90",
    "generate --top-p 0 x": "--top-p must be a share above 0",
    "chat --temperature nan": "--temperature must be 0, which is greedy, or a number from 1e-06 up, not nan",
    "batch p -o a --temperature -1": "--temperature must be 0, which is greedy",
    "benchmark --temperature inf": "--temperature must be 0, which is greedy",
    "generate --repetition-penalty 0 x": "--repetition-penalty must be a number from 0.001 to 1000, not 0",
    "generate --top-k -1 x": "--top-k must be 0 or more, not -1",
    "generate --seed 18446744073709551616 x": "--seed must be 18,446,744,073,709,551,615 at most",
    "generate x --stop ": "expected at least one argument",
    "generate x --trusted abc": "--trusted: 'abc' names no peer",
    "generate x --excluded 16Uiu2HAmXYZ": "is the beginning of a peer's id",
    "generate x --auction": "--auction needs a ledger; say which, with --ledger or SWARM_LEDGER",
    "chat --budget 1": "--budget needs a ledger",
    "batch p -o a --min-stake 1": "--min-stake needs a ledger",
    "generate x --auction --ledger book": "--auction needs --max-price",
    "generate x --no-receipts --ledger book": "cannot be paid: leave --no-receipts out, or --ledger",
    "generate x --no-receipts --audit peers": "cannot be audited: leave --no-receipts out, or --audit",
    "generate x --no-receipts --verify full": "--verify checks work by its receipts: leave it out, or --no-receipts",
    "generate --local-blocks 2 x": "two counts like 2:1",
    "generate --peers The capital": "'The' is not a peer address; the form is /ip4/",
    "generate --peers The capital of France": "it takes all words that follow it, so PROMPT goes before it",
    "generate --trusted abc def": "it takes all words that follow it, so PROMPT goes before it",
    "generate --peers 127.0.0.1:4000": "is not a peer address",
    "generate --peers /ip4/127.0.0.1/tcp/4000": "p2p/PEER_ID",
    "generate caf\udce9": "is not UTF-8",
    "server --max-tokens 5": "did you mean --max-context?",
    "server --num_blocks 5": "did you mean --blocks?",
    "server --blocks 5": "a range like 0:20",
    "server --blocks 9:3": "did you mean 3:9?",
    "server --blocks 3:3": "no blocks",
    "server --memory 10": "10 bytes? For 10 GiB, write 10G",
    "server --memory -1G": "no memory at all",
    "server --memory nan": "is not a size",
    "server --threads 0": "--threads must be positive, not 0",
    "server --threads 100000": "too many for this machine's",
    "server --port 70000": "70000 is not a port",
    "server --port -1": "-1 is not a port",
    "server --device tpu": "write cpu, cuda",
    "server --host http://0.0.0.0:8000": "--host: 'http://0.0.0.0:8000' is not a host; write an address, like 0.0.0.0",
    "server --host 0.0.0.0:4000": "and the port with --port",
    "ledger serve --host 0.0.0.0:4000": "and the port with --port",
    "ledger serve --announce http://x": "is not a host",
    "calibrate --tokens 0": "--tokens must be 256 or more, not 0",
    "auditor --audit-rate 20": "--audit-rate must be a share from 0 to 1 (0.20 for 20 %), not 20",
    "ledger mint 100 me": "ADDRESS: '100' is no address; write 0x and 40 hex digits",
    "server --drain inf": "must be a number of seconds",
    "server more": "'more': nothing of that kind is expected here",
    "server --json --port x": "x is not a port",
    "status --interval 0": "--interval must be positive",
    "batch": "are required: prompts, --output/-o",
    "ledger": "say which: balance, mint,",
    "ledger stakes": "unknown verb 'stakes'",
    "ledger stake bond 1 --ledgr x": "did you mean --ledger? see python -m swarm ledger stake bond --help",
    "identity kies": "choose from keys, export, import",
    "evidence examine": "are required: FILE",
    "auditor --budget 1": "--budget must be 2 or more, not 1",
    "earnings --since 0": "a number of hours above 0",
    "completion tcsh": "choose from bash, zsh, fish",
    "demo --blocks 0-10": "a range like 0:20",
}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    monkeypatch.delenv("SWARM_CONFIG", raising=False)
    monkeypatch.delenv("SWARM_LEDGER", raising=False)
    monkeypatch.setattr(sys, "argv", [str(Path(swarm.__file__).with_name("__main__.py"))])  # as of a command


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_command_line_gets_one_line_that_says_what_was_meant(line, capsys):
    verb, *arguments = line.split()
    assert check(make_parser(verb), arguments) == exits.WRONG
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("error: ") and WRONG[line] in said


@pytest.mark.parametrize("name", VERBS)
def test_what_is_looked_for_before_it_is_parsed_is_written_out_and_each_option_says_what_it_is_for(name):
    parser = make_parser(name)
    with pytest.raises(WrongUsage, match="unknown option --jso"):
        parser.read([*required(name), "--jso"])
    assert all(action.help for action in parser.settings())


def required(name: str) -> list[str]:
    """What a verb cannot do without."""
    return {"batch": ["prompts", "-o", "answers"], "receipts": ["list"], "evidence": ["list"], "completion": ["bash"],
            "models": ["demo"],
            "ledger": ["balance"]}.get(name, [])  # fmt: skip


def test_parsers_need_nothing_heavy():
    script = (
        "import sys; from swarm.cli.entry.verbs import *; [make_parser(name) for name in VERBS]; print(*sys.modules)"
    )
    names = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "numpy", "transformers", "hivemind"} & set(names)


def test_what_parsers_know_is_what_the_code_does():
    assert (light.AUDITORS, light.PEERS, light.LOCAL, light.SEGMENT) == (AUDITORS, PEERS, LOCAL, SEGMENT)
    assert tuple(DTYPES) == light.DTYPE_NAMES


@pytest.mark.parametrize("line", [
    "The capital of France --seed 1", "--seed 1 The capital of France", "--json The capital of France --seed 1",
])  # fmt: skip
def test_a_prompt_needs_no_quotation_marks(line):
    args = make_parser("generate").read(line.split())
    assert (args.prompt, args.seed) == (["The", "capital", "of", "France"], 1)


@pytest.mark.parametrize(("line", "name", "value"), [
    ("x --temp 0.5", "temperature", 0.5), ("x --max-new=5", "max_new_tokens", 5), ("x --ver full", "verify", "full"),
    ("x --prio 1n", "priority_fee", 1), ("x --top-k 0", "top_k", 0),
])  # fmt: skip
def test_an_option_may_be_abbreviated_as_long_as_only_one_can_be_meant(line, name, value):
    if name == "verify":
        with pytest.raises(WrongUsage, match="--ver could match --verify, --verbose"):
            make_parser("generate").read(line.split())
        return
    assert getattr(make_parser("generate").read(line.split()), name) == value


def test_old_names_and_files_of_settings_are_not_abbreviated():
    for line in ("x --bi 1n", "x --conf f", "x --js"):
        with pytest.raises(WrongUsage, match="unknown option"):
            make_parser("generate").read(line.split())


@pytest.mark.parametrize(("text", "name"), [("gpu", "cuda"), ("GPU:1", "cuda:1"), ("cpu", "cpu"), ("cuda:0", "cuda:0")])
def test_a_gpu_is_cuda(text, name):
    assert parsing.device(text) == name


def test_an_error_ends_with_the_status_of_its_kind():
    by_status = {
        exits.LATER: (NoRoute("x"), PeerBusy("x"), PeerUnreachable("x")),
        exits.WRONG: (InvalidRequest("x"), WrongUsage("x")),
        exits.FAILED: (
            ModelError("x"),
            LedgerRefusal("x"),
            PrivateSwarm("x"),
            RevisionMismatch("x"),
            UnusableFile("x"),
        ),
    }
    for status, errors in by_status.items():
        assert {exits.status_of(error) for error in errors} == {status}
