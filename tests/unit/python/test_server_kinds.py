"""What servers of a LocalSwarm may be told, and numbers that nobody can have meant."""

import numpy as np
import pytest

import swarm
from swarm.client.config import ClientConfig
from swarm.client.server_options import checked, ranges
from swarm.errors import InvalidRequest
from swarm.generate.options import parse_options

ENDLESS = 10**5000


@pytest.fixture(autouse=True)
def no_ledger(monkeypatch):
    monkeypatch.delenv("SWARM_LEDGER", raising=False)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"bogus": 1}, "unknown option 'bogus'; help(swarm.LocalSwarm) lists the options"),
        ({"num_threads": 1}, "unknown option 'num_threads'; did you mean threads?"),
        ({"temperature": 1}, "unknown option 'temperature'; it is an option of swarm.Client.generate"),
        ({"threads": "two"}, "threads is a whole number from 1 up, not 'two' (str)"),
        ({"threads": 0}, "threads is a whole number from 1 up, not 0 (int)"),
        ({"quant": "int3"}, "unknown quant 'int3'; use one of none, int8"),
        ({"port": 70_000}, "port is a whole number from 0 to 65,535, not 70000 (int)"),
        ({"kv_memory": 0}, "kv_memory is a whole number from 1 up (bytes), or a size like '512M', not 0 (int)"),
        ({"price": -1}, "price is a whole number from 0 up (nano-credits), or credits as text"),
        ({"price": "lots"}, "not an amount: 'lots'"),
        ({"drain": "long"}, "drain is a number of seconds"),
        ({"no_receipts": "yes"}, "no_receipts is True or False, not 'yes' (str)"),
        ({"ledger": 5}, "ledger is text or a path, not 5 (int)"),
        ({"secret": b"x"}, "secret is text, not bytes"),
        ({"model": None}, "model is text or a path, not None"),
        ({"blocks": 3}, "blocks is a list with a range like '0:10' for each server, not 3 (int)"),
        ({"blocks": None}, "blocks is a list with a range like '0:10' for each server, not None"),
        ({"blocks": [3]}, "blocks of a server are a range like '0:10', or 'auto', not 3 (int)"),
        ({"blocks": [(0, 1.5)]}, "blocks of a server are a range like '0:10', or 'auto', not (0, 1.5) (tuple)"),
        ({"blocks": ["0-10"]}, "blocks '0-10' are not a range like 0:20"),
    ],
)
def test_a_local_swarm_refuses_in_one_line_what_no_server_would_take(options, said):
    with pytest.raises(InvalidRequest) as error:
        swarm.LocalSwarm(**options)
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


def test_a_local_swarms_blocks_and_options_are_taken_in_several_forms(tmp_path):
    assert ranges("0:30") == ranges((0, 30)) == ranges(["0:30"]) == ranges([(0, 30)]) == ["0:30"]
    assert ranges(["auto", (1, 2), " 2:3 "]) == ["auto", "1:2", "2:3"]
    given = {"threads": np.int64(2), "price": 5, "stake": "0.5", "ledger": tmp_path, "no_receipts": True,
             "verbose": False, "quant": None, "memory": 2**20, "drain": 3}  # fmt: skip
    assert checked(given) == {
        "threads": "2", "price": "5n", "stake": "0.5", "ledger": str(tmp_path), "no_receipts": True,
        "memory": "1048576", "drain": "3.0",
    }  # fmt: skip


@pytest.mark.parametrize(
    "take",
    [
        lambda: parse_options({"priority_fee": ENDLESS}),
        lambda: parse_options({"max_new_tokens": ENDLESS}),
        lambda: parse_options({"seed": -ENDLESS}),
        lambda: parse_options({"top_k": ENDLESS}),
        lambda: parse_options({"temperature": ENDLESS}),
        lambda: parse_options({"stop": [ENDLESS]}),
        lambda: ClientConfig("demo", budget=ENDLESS),
        lambda: ClientConfig("demo", local_blocks=(ENDLESS, 1)),
        lambda: checked({"threads": ENDLESS}),
        lambda: checked({"memory": ENDLESS}),
        lambda: checked({"price": ENDLESS}),
        lambda: checked({"drain": ENDLESS}),
        lambda: ranges([(0, ENDLESS)]),
        lambda: ranges((-ENDLESS, 1)),
        lambda: ranges([[ENDLESS]]),
    ],
)
def test_a_number_of_thousands_of_digits_is_refused_in_one_line(take):
    with pytest.raises(InvalidRequest) as caught:
        take()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200
