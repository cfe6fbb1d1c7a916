"""Arguments as people write them."""

import argparse

import pytest

from swarm.cli.support import parsing
from swarm.cli.support.clients import add_client_arguments
from swarm.cli.support.commands import generate_command, serve_command
from swarm.errors import InvalidRequest


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
    ("text", "nbytes"), [("512M", 2**29), ("2GiB", 2**31), ("1.5k", 1536), ("7", 7), ("1T", 2**40)]
)
def test_sizes(text, nbytes):
    assert parsing.size(text) == nbytes


def test_a_bid_is_a_priority_fee_and_says_so(capsys):
    parser = argparse.ArgumentParser()
    add_client_arguments(parser)
    assert parser.parse_args([]).priority_fee == 0
    assert parser.parse_args(["--priority-fee", "0.000001"]).priority_fee == 1000
    assert capsys.readouterr().err == ""
    assert parser.parse_args(["--bid", "10n"]).priority_fee == 10
    assert "--bid is called --priority-fee now" in capsys.readouterr().err


def test_commands_for_others_leave_out_what_goes_without_saying():
    assert serve_command("demo", None, None) == "python -m swarm.server"
    assert serve_command("a b", ["x"], (3, 4), "FILE", "w") == (
        "python -m swarm.server --model 'a b' --blocks 3:4 --peers x --secret-file FILE --ledger w"
    )
    assert generate_command("Hello, you", "demo", ["x"]) == 'python -m swarm generate "Hello, you" --peers x'
