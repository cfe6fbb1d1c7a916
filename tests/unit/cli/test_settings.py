"""swarm.toml: what counts where nothing is typed, and who says so."""

import json
import os

import pytest

from swarm.cli.entry.verbs import make_parser
from swarm.cli.settings import config
from swarm.cli.settings.example import EXAMPLE
from swarm.cli.settings.reading import parse
from swarm.cli.support import exits
from swarm.cli.support.terminal import check

PEER = "/ip4/127.0.0.1/tcp/9/p2p/16Uiu2HAm2GyVsTcR5M5h8KqkWQFQReyhpePEWW3Fy2nmt6EuqwQG"
FILE = f"""[all]
peers = ["{PEER}"]
model = "some/model"

[client]
quant = "int4"
max_new_tokens = 7
no-receipts = true
[chat]
quant = "int8"
[server]
memory = "4G"
verbose = true
secret-file = "~/secret"
[batch]
output = "answers"
[ledger]
json = true
[ledger.serve]
port = 0
json = false
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    for name in ("SWARM_CONFIG", "SWARM_PEERS", "SWARM_LEDGER", "SWARM_SECRET"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def write(home):
    def to_file(text: str, name: str = "swarm.toml") -> str:
        (home / name).write_text(text)
        return str(home / name)

    return to_file


def read(verb: str, *arguments: str):
    return parse(make_parser(verb), arguments)


def test_what_the_file_says_counts_as_if_it_were_typed(write):
    write(FILE)
    generate = read("generate", "hello")
    assert (generate.peers, generate.model, generate.quant) == ([PEER], "some/model", "int4")
    assert (generate.max_new_tokens, generate.receipts) == (7, False)
    assert read("chat").quant == "int8"
    server = read("server")
    assert (server.memory, server.verbose, server.quant) == (2**32, True, "none")
    assert not str(server.secret_file).startswith("~")
    assert str(read("batch", "prompts").output) == "answers"
    assert read("ledger", "balance").json and not read("ledger", "serve").json
    assert read("ledger", "serve").port == 0


def test_what_is_typed_counts_first_and_then_the_environment(write, monkeypatch):
    write(FILE)
    assert read("generate", "--quant", "nf4", "x").quant == "nf4"
    monkeypatch.setenv("SWARM_PEERS", "elsewhere")
    assert read("generate", "x").peers is None  # which is to look at the environment


def test_another_file_is_named_by_an_option_or_the_environment(write, monkeypatch):
    write(FILE)
    other = write('[server]\nquant = "nf4"\n', "other.toml")
    assert read("server", "--config", other).quant == read("server", f"--config={other}").quant == "nf4"
    monkeypatch.setenv("SWARM_CONFIG", other)
    assert read("server").quant == "nf4"
    monkeypatch.setenv("SWARM_CONFIG", "")
    assert read("server").memory is None
    assert read("generate", "--", "--config", "x").prompt == ["--config", "x"]


WRONG = {
    "quant = 1": "line 1: quant is in no section",
    "server = 1": "line 1: server is in no section",
    "[all]\nmodle = 'x'": "line 2: modle is no setting of [all]; did you mean model?",
    "[all]\nport = 1": "it can have model, revision,",
    "[serve]": "line 1: no verb 'serve'; did you mean server?",
    "[server]\nquant = 'int5'": "line 2: quant is wrong: 'int5' is not known; choose from none,",
    "[server]\ntheads = 2": "line 2: theads is no option of server; did you mean threads?",
    "[server]\nthreads = true": "line 2: threads is text or a number here",
    "[server]\nthreads = 0": "line 2: threads must be positive, not 0",
    "[server]\nno-receipts = 1": "line 2: no-receipts is true or false",
    "[server]\nmemory = 10": "10 bytes?",
    "[server]\nhost = ['a']": "host is text or a number here",
    "[server]\nhost = 2030-01-01": "host is text or a number here",
    "[client]\nport = 3": "line 2: port is no option of client",
    "[client.chat]\nport = 3": "no section client.chat",
    "[ledger.serv]\nport = 3": "line 1: no section ledger.serv; did you mean serve?",
    "[ledger.serve]\nprt = 3": "prt is no option of ledger.serve; did you mean port?",
    "[all]\npeers = '127.0.0.1:3'": "line 2: peers is wrong: '127.0.0.1:3' is not a peer address",
    "[all]\npeers = {a = 1}": "line 2: peers is text or a number here",
    "[all.ledger]\nserve = 1": "ledger is text or a number here",
    '[server]\n"\\u001b[31mx" = 1': "'\\x1b[31mx' is no option of server",
    '["a\\u001b"]': "no verb 'a\\x1b'",
    '"a\\u001b" = 1': "'a\\x1b' is in no section",
    '[all]\n"a\\u001b" = 1': "'a\\x1b' is no setting of [all]",
    '[ledger."a\\u001b"]': "no section ledger.'a\\x1b'",
    f"[server]\nport = 0x{'f' * 5000}": "line 2: port is a number of too many digits",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_in_a_file_is_one_line_that_names_it(write, capsys, text):
    path = write(text)
    assert config.main([]) == exits.WRONG
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("error: ") and path in said and WRONG[text] in said


def test_a_file_that_cannot_be_read_is_one_line(home, capsys):
    os.mkfifo(home / "pipe")
    (home / "huge").write_bytes(bytes(2**20 + 1))
    wrong = {
        "nowhere": "cannot be read", ".": "cannot be read", "pipe": "no regular file", "/dev/zero": "no regular file",
        "huge": "larger than 1 MiB", "~nobody-of-that-name/x": "no such home folder",
    }  # fmt: skip
    for name, what in wrong.items():
        named = name if name.startswith("~") else str(home / name)
        assert check(make_parser("status"), ["--config", named]) == exits.FAILED
        (said,) = capsys.readouterr().err.splitlines()
        assert what in said
    unusable = {b"\xff": "are not UTF-8", b"[all]\nmodel = [1": "are not TOML",
                b"[server]\nport = " + b"1" * 5000: "are not TOML"}  # fmt: skip
    for data, what in unusable.items():
        (home / "swarm.toml").write_bytes(data)
        assert check(make_parser("status"), []) == exits.FAILED
        assert what in capsys.readouterr().err
    assert check(make_parser("secret"), []) == exits.DONE  # it has nothing to look for there


@pytest.mark.parametrize("target", ["swarm.toml", "nowhere"])
def test_settings_that_are_a_link_which_leads_nowhere_do_not_count_as_none(home, capsys, target):
    (home / "swarm.toml").symlink_to(home / target)
    assert check(make_parser("status"), []) == exits.FAILED
    assert f"the settings in {home / 'swarm.toml'} cannot be read: " in capsys.readouterr().err
    assert config.main(["--init"]) == exits.WRONG
    assert "swarm.toml exists" in capsys.readouterr().err and not (home / "nowhere").exists()


def test_what_an_editor_puts_before_the_text_is_none_of_it(home):
    (home / "swarm.toml").write_bytes(b"\xef\xbb\xbf[server]\nport = 7\n")
    assert read("server").port == 7


def test_config_shows_what_counts_and_who_says_so(write, capsys, monkeypatch):
    path = write(FILE)
    monkeypatch.setenv("SWARM_SECRET", "not to be shown at all")
    assert config.main(["generate", "--json"]) == 0
    said = capsys.readouterr().out
    found = {one["option"]: one for one in map(json.loads, said.splitlines())}
    assert found["quant"] == {"verb": "generate", "option": "quant", "value": "int4", "source": f"{path}, line 6"}
    assert (found["top-k"]["value"], found["top-k"]["source"]) == (None, "default")
    assert found["no-receipts"]["value"] is True
    assert found["secret-file"]["source"] == "SWARM_SECRET" and "not to be shown" not in said
    assert config.main(["ledger", "serve"]) == 0
    assert f"{path}, line {FILE.splitlines().index('port = 0') + 1}" in capsys.readouterr().out
    assert config.main([]) == 0
    assert config.main(["ledger", "serv"]) == exits.WRONG
    assert "did you mean serve?" in capsys.readouterr().err


def test_the_example_can_be_written_once_and_counts_for_nothing_yet(home, capsys):
    assert config.main(["--init"]) == 0
    assert (home / "swarm.toml").read_text() == EXAMPLE
    assert config.main(["--init"]) == exits.WRONG
    capsys.readouterr()
    assert config.main(["--json"]) == 0
    assert {json.loads(line)["source"] for line in capsys.readouterr().out.splitlines()} == {"default"}


def test_all_that_the_example_names_are_options(write, capsys):
    lines = [line.removeprefix("# ") if " = " in line else line for line in EXAMPLE.splitlines()]
    write("\n".join(lines).replace("PEER_ID", PEER.rsplit("/", 1)[1]))
    assert config.main([]) == 0, capsys.readouterr().err
