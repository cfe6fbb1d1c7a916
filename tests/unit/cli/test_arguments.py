"""Arguments as people write them."""

import io
import json
import shlex

import pytest

from swarm.cli import auditor, batch, generate, identity, server, status
from swarm.cli.parsers.clients import add_client_arguments
from swarm.cli.support import exits, parsing
from swarm.cli.support.parser import Parser
from swarm.cli.support.terminal import read_text
from swarm.cli.support.terminal import run as run_verb
from swarm.client.prompts import Prompts
from swarm.commands import Invitation, pasted_model
from swarm.errors import InvalidRequest, PaymentRequired
from swarm.market.billing import BillingOptions, post_stake
from swarm.market.ledger.sqlite import SqliteLedger
from swarm.market.pricing.fixed import Fixed
from swarm.peers.status.overview import make_overview
from swarm.server.config import ServerConfig
from swarm.wire.formats.quotes import Price
from swarm.wire.identity import Identity


@pytest.mark.parametrize(
    ("text", "nano"), [("0", 0), ("0.000001", 1000), ("1000n", 1000), ("0.001", 10**6), ("1000000000n", 10**9)]
)
def test_a_price_is_in_credits_or_in_nano_credits(text, nano):
    assert parsing.price(text) == nano


@pytest.mark.parametrize("text", ["1", "1000", "1.5", "0.0010001"])
def test_a_price_that_was_meant_in_nano_credits_is_refused_with_what_to_write(text):
    with pytest.raises(InvalidRequest, match=f"{text}n" if text.isdigit() else "write it like 1000n"):
        parsing.price(text)


@pytest.mark.parametrize("text", ["", "-1", "1e3", "1,5", "n", "1.5n", "lots"])
def test_what_is_no_amount_is_no_price_either(text):
    for kind in (parsing.amount, parsing.price):
        with pytest.raises(InvalidRequest, match="not an amount"):
            kind(text)


@pytest.mark.parametrize(
    ("text", "nbytes"), [("512M", 2**29), ("2GiB", 2**31), ("1.5k", 1536), ("2097152", 2**21), ("1T", 2**40)]
)
def test_sizes(text, nbytes):
    assert parsing.size(text) == nbytes


def test_a_bid_is_a_priority_fee_and_says_so(capsys):
    parser = Parser(has_settings=False)
    add_client_arguments(parser)
    assert parser.parse_args([]).priority_fee == 0
    assert parser.parse_args(["--priority-fee", "0.000001"]).priority_fee == 1000
    assert capsys.readouterr().err == ""
    assert parser.parse_args(["--bid", "10n"]).priority_fee == 10
    assert "--bid is called --priority-fee now" in capsys.readouterr().err


def test_commands_for_others_leave_out_what_goes_without_saying():
    assert Invitation().serve() == "python -m swarm.server"
    assert Invitation(quant="int4", dtype="bfloat16").serve() == "python -m swarm.server --quant int4"
    assert Invitation().generate("Hello, you") == 'python -m swarm generate "Hello, you"'
    assert Invitation(peers=["x"]).generate("Hello, you") == 'python -m swarm generate "Hello, you" --peers x'


def test_commands_for_others_say_all_that_a_peer_needs_to_fit_in():
    invitation = Invitation(
        "a b", "int8", "float32", "v2", ["x"], is_private=True, ledger="10.0.0.1:7/ab", from_afar=True
    )  # fmt: skip
    assert invitation.serve((3, 4)) == (
        "python -m swarm.server --model 'a b' --revision v2 --blocks 3:4 --quant int8 --dtype float32 --host 0.0.0.0 "
        "--peers x --secret-file FILE --ledger 10.0.0.1:7/ab"
    )


@pytest.mark.parametrize("ledger", ["/home/me/ledger", "ledger", "evm:chain.json", "127.0.0.1:7/ab", "[::1]:7/ab",
                                    "localhost:7/ab", "a/b:1/c"])  # fmt: skip
def test_a_ledger_that_only_this_machine_reaches_is_not_named_to_others(ledger):
    assert Invitation(ledger=ledger).serve() == "python -m swarm.server"


def test_a_model_is_named_to_others_without_the_folders_of_this_machine(tmp_path):
    (tmp_path / "m.gguf").touch()
    assert pasted_model(str(tmp_path / "m.gguf")) == "m.gguf"
    assert pasted_model(str(tmp_path)) == tmp_path.name
    assert [pasted_model(name) for name in ("demo", "org/model")] == ["demo", "org/model"]


@pytest.mark.parametrize("run", [generate.main, server.main, batch.main, identity.main, auditor.main])
def test_bytes_that_are_no_text_are_refused_in_one_line(run, capsys):
    assert run(["--model", "caf\udce9"]) == exits.WRONG
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: 'caf\\udce9' is not UTF-8")


def test_a_file_that_cannot_be_used_is_said_in_one_line(tmp_path, capsys):
    assert run_verb(Parser("test"), [], lambda args: open(tmp_path).close()) == 1
    assert capsys.readouterr().err == f"error: {tmp_path} cannot be used: Is a directory\n"


@pytest.mark.parametrize("given", [b"caf\xe9", b"\xff\xfe"])
def test_bytes_that_are_no_text_on_standard_input_are_refused(given, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given)))
    with pytest.raises(InvalidRequest, match="the prompt on standard input is not UTF-8"):
        read_text("the prompt")


def test_text_on_standard_input_is_read(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("café".encode()), encoding="ascii"))
    assert read_text("the prompt") == "café"


def test_a_prompt_of_half_characters_is_refused_whichever_way_it_comes(demo_tokenizer):
    encode = Prompts(demo_tokenizer, None).encode
    for prompt in ("caf\udce9", json.loads('"\\ud83d"'), [{"role": "user", "content": "caf\udce9"}]):
        with pytest.raises(InvalidRequest, match="the prompt is no text at character"):
            encode(prompt)


def test_commands_for_others_quote_what_a_shell_would_take_apart():
    command = Invitation("/my models/a'b", peers=["/ip4/1"]).serve((0, 2))
    assert shlex.split(command)[3:] == ["--model", "/my models/a'b", "--blocks", "0:2", "--peers", "/ip4/1"]
    ledger = SqliteLedger(None, Identity())
    with pytest.raises(PaymentRequired) as error:
        post_stake(ledger, BillingOptions("my ledger", Fixed(Price(1, 1)), stake=5), "peer")
    ledger.shut()
    assert str(error.value).endswith("--ledger 'my ledger'")


def test_one_port_cannot_be_both_the_servers_and_its_directorys(capsys):
    with pytest.raises(InvalidRequest, match="port and dht_port are both 4000; they must differ"):
        ServerConfig(port=4000, dht_port=4000)
    assert server.main(["--port", "4000", "--dht-port", "4000"]) == exits.WRONG
    assert "are both 4000; they must differ" in capsys.readouterr().err
    ServerConfig(port=0, dht_port=0)


@pytest.mark.parametrize("host", ["10.1.2.3", "127.0.0.1"])
def test_who_is_the_first_of_a_swarm_on_other_machines_listens_for_them(host):
    """Of a model that nobody serves no peers are shown, which would tell where they are."""
    peer = f"/ip4/{host}/tcp/4000/p2p/{Identity().peer_id}"
    args = status.make_parser().parse_args(["--model", "demo", "--peers", peer])
    command = status._invitation(make_overview("demo", [], {}, {}, 0.0), args, [peer]).serve(None)
    assert ("--host 0.0.0.0" in command) == (host != "127.0.0.1")
    assert peer in command
