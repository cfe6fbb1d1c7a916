"""Files and folders that are not what is wanted, and what options are called by whoever reads of them."""

import json
import sys
from pathlib import Path

import pytest

import swarm
from swarm import kinds
from swarm.cli import batch, evidence, identity
from swarm.cli.models import verb as models
from swarm.cli.models.shape import read_shape
from swarm.cli.support import exits
from swarm.client.local.process import in_python
from swarm.commands import pasted_model
from swarm.errors import InvalidRequest, NoRoute, UnusableFile
from swarm.market.ledger.opening import ledger_file, open_ledger
from swarm.model.checkpoint import config_file
from swarm.model.names import model_name
from swarm.program import option
from swarm.session.coverage import WaitForCoverage, Waits
from swarm.wire.identity import Identity
from swarm.wire.secret import read_secret

COMMAND = str(Path(swarm.__file__).with_name("__main__.py"))


@pytest.mark.parametrize(("verb", "arguments"), [(identity, ["keys"]), (evidence, ["list"])])
def test_a_home_that_is_no_folder_is_an_error_where_it_is_listed(verb, arguments, tmp_path, monkeypatch, capsys):
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("SWARM_HOME", str(file))
    assert verb.main(arguments) == exits.FAILED
    assert capsys.readouterr().err == f"error: {file} is no folder, and holds nothing; name a folder with SWARM_HOME\n"
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "not yet there"))
    assert verb.main(arguments) == exits.DONE


def test_answers_do_not_go_into_the_file_of_the_prompts(tmp_path, capsys):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(json.dumps("hi") + "\n")
    link = tmp_path / "link"
    link.symlink_to(prompts)
    for output in (prompts, link):
        assert batch.main([str(prompts), "-o", str(output)]) == exits.WRONG
        assert "which has the prompts; name another --output" in capsys.readouterr().err
    assert prompts.read_text() == '"hi"\n'


def test_nobody_of_that_name_is_no_matter_of_how_it_was_typed(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    for name, status in (("9xQz", exits.FAILED), ("x", exits.WRONG)):
        assert evidence.main(["save", name, "-o", str(tmp_path / "proof")]) == status
        assert name in capsys.readouterr().err


def test_an_option_is_called_as_its_reader_writes_it(monkeypatch):
    assert (option("max_price"), option("secret", "--secret-file")) == ("max_price", "secret")
    for started in (COMMAND, "/usr/bin/swarm"):
        monkeypatch.setattr(sys, "argv", [started])
        assert (option("max_price"), option("secret", "--secret-file")) == ("--max-price", "--secret-file")


def test_what_a_server_says_names_options_as_a_programin_python_gives_them():
    said = "--host: 'x:1' is no host; lower --kv-memory; run `swarm server --host x`; see swarm server --help"
    assert in_python(said) == "host: 'x:1' is no host; lower kv_memory; run `swarm server --host x`"
    assert in_python("no --kv-head; --help lists --help-me") == "no kv_head; --help lists --help-me"


@pytest.mark.parametrize(("timeout_s", "lines"), [(0.9, 0), (5.0, 1)])
def test_a_wait_that_is_over_at_once_is_not_told(timeout_s, lines, caplog):
    with WaitForCoverage(timeout_s, lambda status: None, Waits()) as wait:
        assert wait.goes_on(str(NoRoute("blocks 0:2")))
    assert len(caplog.messages) == lines


@pytest.mark.parametrize("path", ["~nobody-of-that-name/x", "a\0b", "a\ud800b"])
def test_what_names_no_file_is_one_line_wherever_it_is_given(path, tmp_path):
    own = Identity.load_or_create(tmp_path / "own.key")
    uses = [
        model_name,
        pasted_model,
        config_file,
        read_shape,
        ledger_file,
        lambda path: open_ledger(path, own),
        lambda path: open_ledger(f"evm:{path}", own),
    ]
    for use in uses:
        with pytest.raises(UnusableFile, match=r"no path|no such home folder") as caught:
            use(path)
        assert "\n" not in str(caught.value) and "\0" not in str(caught.value)
    if not path.startswith("~"):
        with pytest.raises(InvalidRequest, match="model is text or a path"):
            kinds.path("model", path)


def test_a_file_in_no_home_folder_is_one_line_of_every_verb(capsys):
    for verb, arguments in ((batch, ["~nobody-of-that-name/x", "-o", "y"]), (models, ["~nobody-of-that-name/x"])):
        assert verb.main(arguments) in (exits.FAILED, exits.WRONG)
        (said,) = capsys.readouterr().err.splitlines()
        assert "there is no such home folder" in said


def test_a_ledger_in_the_home_folder_is_that_and_none_is_made_where_a_service_was_meant(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    own = Identity.load_or_create(tmp_path / "own.key")
    monkeypatch.chdir(tmp_path)
    assert ledger_file("~/book") == tmp_path / "book" / "ledger.db"
    open_ledger("~/book", own)
    assert (tmp_path / "book" / "ledger.db").exists()
    for where in ("x:y/z", "host:4100", "host:/z"):
        with pytest.raises(InvalidRequest, match="no ledger's address"):
            open_ledger(where, own)
    assert {path.name for path in tmp_path.iterdir()} == {"book", "own.key"}
    open_ledger("./x:y", own)


def test_a_secret_is_not_looked_for_in_a_device_without_an_end():
    with pytest.raises(UnusableFile, match="the secret file /dev/zero"):
        read_secret(Path("/dev/zero"))
