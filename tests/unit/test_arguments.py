"""Arguments as people write them."""

import pytest

from swarm.cli.support import parsing
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
