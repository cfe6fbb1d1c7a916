"""Options have names and types that editors and type checkers know; of each wrong one, one line says what is wanted."""

import inspect
import typing
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

import swarm
from swarm.cli.server import make_parser
from swarm.client.config import ClientConfig
from swarm.client.keywords import ClientKeywords, LimitKeywords
from swarm.client.server_options import ServerKeywords
from swarm.errors import InvalidRequest
from swarm.generate.options import KNOWN, GenerateKeywords, GenerateOptions, parse_options
from swarm.generate.sampling import SamplingOptions
from swarm.results import Generation
from swarm.session.limits import ClientLimits

OF_LOCAL_SWARM = {"config", "model", "blocks", "peers", "json", "exit_with_parent", "secret_file", "help"}


@pytest.fixture(autouse=True)
def no_ledger(monkeypatch):
    monkeypatch.delenv("SWARM_LEDGER", raising=False)


# --- names -----------------------------------------------------------------------------------------------------------


def test_the_keywords_of_generate_are_its_options():
    """Declared once for type checkers and once with checks and defaults: by this, the same."""
    keywords = typing.get_type_hints(GenerateKeywords)
    options = typing.get_type_hints(SamplingOptions) | typing.get_type_hints(GenerateOptions)
    assert keywords.keys() == KNOWN == options.keys() - {"sampling", "background"} | {"batch"}
    for name in keywords.keys() - {
        "stop",
        "through",
        "batch",
        "priority_fee",
    }:  # which are given in other forms than they are kept
        assert keywords[name] == options[name]


def test_the_keywords_of_a_client_are_the_fields_of_its_config():
    own = {field.name for field in fields(ClientConfig)} - {"model", "peers", "dtype", "limits"}
    assert typing.get_type_hints(LimitKeywords) == typing.get_type_hints(ClientLimits)
    assert typing.get_type_hints(ClientKeywords).keys() == own | {field.name for field in fields(ClientLimits)}


def test_the_keywords_of_a_local_swarm_are_the_arguments_of_a_server():
    known = {action.dest for action in make_parser()._actions} - OF_LOCAL_SWARM
    keywords = typing.get_type_hints(ServerKeywords).keys()
    assert keywords - {"no_receipts"} | {"receipts"} == known


@pytest.mark.parametrize(
    ("function", "some"),
    [
        (swarm.Client, {"quant": None, "audit_rate": None, "receipts": True, "step_timeout_s": 60.0}),
        (swarm.Client.generate, {"max_new_tokens": 128, "temperature": 0.0, "top_p": None, "batch": False}),
        (swarm.Client.stream, {"max_new_tokens": 128, "temperature": 0.0, "top_p": None, "batch": False}),
        (swarm.LocalSwarm, {"quant": None, "threads": None, "no_receipts": False}),
        (swarm.LocalSwarm.start, {"quant": None, "threads": None}),
    ],
)
def test_a_signature_names_every_option_with_type_and_default(function, some):
    parameters = inspect.signature(function).parameters
    assert not any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    assert {name: parameters[name].default for name in some} == some
    assert all(one.annotation is not one.empty for name, one in parameters.items() if name != "self")


def test_one_prompt_gives_one_generation_and_a_list_gives_a_list():
    one, several = (typing.get_type_hints(form)["return"] for form in typing.get_overloads(swarm.Client.generate))
    assert (one, several) == (Generation, list[Generation])
    one, several = (typing.get_type_hints(form)["return"] for form in typing.get_overloads(swarm.Client.stream))
    assert [typing.get_args(kind) for kind in (one, several)] == [(str,), (tuple[int, str],)]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("max_tokens", "did you mean max_new_tokens?"),
        ("MAX_TOKENS", "did you mean max_new_tokens?"),
        ("max_length", "did you mean max_new_tokens?"),
        ("max_new_token", "did you mean max_new_tokens?"),
        ("temp", "did you mean temperature?"),
        ("stop_sequences", "did you mean stop?"),
        ("stop_strings", "did you mean stop?"),
        ("seeds", "did you mean seed?"),
        ("n", "give a list with the prompt several times"),
        ("num_return_sequences", "give a list with the prompt several times"),
        ("do_sample", "a temperature above 0 samples"),
        ("model_name", "it is told to swarm.Client"),
        ("quant", "it is told to swarm.Client"),
        ("messages", "a conversation is given as the prompt"),
        ("logprobs", "a generation has its tokens, and no probabilities of them"),
        ("colour", "help(swarm.Client.generate) lists the options"),
    ],
)  # fmt: skip
def test_an_unknown_name_is_told_what_it_is_called_here(name, said):
    with pytest.raises(InvalidRequest) as error:
        parse_options({name: 1})
    assert str(error.value).startswith(f"unknown option '{name}'; ")
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model_name", "did you mean model?"),
        ("token", "HF_TOKEN in the environment"),
        ("initial_peers", "did you mean peers?"),
        ("torch_dtype", "did you mean dtype?"),
        ("load_in_8bit", "did you mean quant?"),
        ("timeout", "did you mean step_timeout_s?"),
        ("max_new_tokens", "it is an option of generate and stream"),
        ("threads", "it is an option of servers"),  # of whose letters most are those of head
        ("colour", "help(swarm.Client) lists the options"),
    ],
)
def test_an_unknown_name_of_a_client_likewise(name, said):
    with pytest.raises(InvalidRequest) as error:
        swarm.Client(**{name: 1})
    assert said in str(error.value)


# --- values ----------------------------------------------------------------------------------------------------------


def test_numbers_of_numpy_are_numbers():
    given = parse_options({
        "max_new_tokens": np.int64(4), "temperature": np.float32(0.5), "top_k": np.int32(5), "top_p": np.float64(0.9),
        "repetition_penalty": np.float16(1.5), "seed": np.uint64(2**63), "ignore_eos": np.True_,
        "priority_fee": np.int8(3),
    })  # fmt: skip
    assert given == GenerateOptions(SamplingOptions(0.5, 5, 0.9, 1.5, 2**63), 4, ignore_eos=True, priority_fee=3)
    assert {type(value) for value in vars(given.sampling).values()} == {float, int}
    assert type(given.max_new_tokens) is int
    limits = ClientLimits(step_timeout_s=np.float32(2), max_concurrent=np.int64(3))
    assert (limits.step_timeout_s, limits.max_concurrent, type(limits.max_concurrent)) == (2.0, 3, int)


WRONG_OPTIONS = [
    ("max_new_tokens", [0, -1, True, None, "5", 2.0, 4.5, [4], float("nan")], "is a whole number from 1 up, not "),
    ("temperature", [-1, True, None, "0.5", float("nan"), float("inf"), 1e-38, 10**400, 1j], "is 0 (greedy), or a"),
    ("top_k", [-1, True, "5", 2.5], "is a whole number from 0 up, or None for all tokens, as 0 is, not "),
    ("top_p", [0, -0.1, 1.5, True, "0.9", float("nan")], "is a number above 0, and at most 1, not "),
    ("repetition_penalty", [0, -1, None, True, "1", float("inf"), 1e-38], "is a number from 0.001 to 1000, not "),
    ("seed", [-1, 2**64, True, 1.0, "7"], "is a whole number from 0 to 18,446,744,073,709,551,615, or None"),
    ("stop", [5, "", [""], [1], b"x", {"a": 1}, ["x", None], "\ud83d"], "is text, or a list of texts"),
    ("verify", [True, 5], "is one of receipts, audit, full, not "),
    ("through", [5, "0:12", ["0:12"], [None], {}], "is a list of swarm.Hop"),
    ("sensitive", [1, "no", None], "is True or False, not "),
    ("ignore_eos", [0, "yes"], "is True or False, not "),
    ("batch", [1, "yes"], "is True or False, not "),
    ("priority_fee", [-1, True, 1.5], "is a whole number from 0 up (nano-credits), or credits as text"),
    ("priority_fee", [2**60], "is 1,152,921,504,606,846,976n a block-token; 1,099"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "said"), [(name, value, said) for name, values, said in WRONG_OPTIONS for value in values]
)
def test_an_option_of_another_kind_is_refused_in_one_line(name, value, said):
    with pytest.raises(InvalidRequest) as error:
        parse_options({name: value})
    line = str(error.value)
    assert line.startswith(f"{name} {said}")
    assert "\n" not in line
    assert len(line) < 200


WRONG_CLIENTS = [
    ("step_timeout_s", [-1, "5", None, True, float("nan"), float("inf"), 1e300], "is a number of seconds"),
    ("open_timeout_s", [0, float("inf")], "is a number of seconds"),
    ("coverage_timeout_s", [-1, "5", float("nan")], "is a number of seconds"),
    ("max_concurrent", [0, 2.0, "3", True], "is a whole number from 1 up"),
    ("max_reroutes", [-1, None], "is a whole number from 0 up"),
    ("local_kv_bytes", ["1G", 0], "is a whole number from 1 up"),
    ("model", [5, None, b"demo"], "is text or a path"),
    ("peers", [5, [5], [""], "", b"/ip4", {"a": 1}], "is text, or a list of texts"),
    ("peers", [[], ()], "is an empty list"),
    ("trusted", [5, [b"x"]], "is text, or a list of texts"),
    ("excluded", [5, [None]], "is text, or a list of texts"),
    ("dtype", [5, np.float32], "is one of float32, bfloat16"),
    ("quant", [8, True], "is one of none, int8"),
    ("head", [8], "is one of float32"),
    ("audit", [True], "is one of peers, local, off"),
    ("audit_rate", [True, "0.1", 2, -1, float("nan")], "is a share from 0 to 1"),
    ("local_blocks", [2, (1,), (1, 2, 3), {}], "is two counts"),
    ("local_blocks", [(-1, 2), (1.0, 2), (True, 1)], "is a whole number from 0 up"),
    ("attestation", [1, "module:name"], "is a function"),
    ("receipts", ["no", 0, None], "is True or False"),
    ("auction", [1], "is True or False"),
    ("ledger", [5, b"x"], "is text or a path"),
    ("budget", [0.5, -1, True, [1]], "is a whole number from 0 up (nano-credits), or credits as text"),
    ("max_price", [0.5, -1, True], "is a whole number from 0 up (nano-credits), or credits as text"),
    ("min_stake", [-1, 1.5], "is a whole number from 0 up (nano-credits), or credits as text"),
    ("seconds_per_credit", [-1, "1", float("nan")], "is a number of seconds"),
    ("revision", [5, ""], "is text"),
]


@pytest.mark.parametrize(
    ("name", "value", "said"), [(name, value, said) for name, values, said in WRONG_CLIENTS for value in values]
)
def test_a_client_refuses_in_one_line_what_it_cannot_be_told(name, value, said):
    """Before anything is loaded, or anybody asked."""
    with pytest.raises(InvalidRequest) as error:
        swarm.Client(**{name: value})
    assert str(error.value).startswith(f"{name} {said}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("budget", "lots"),
        ("max_price", "1e3"),
        ("min_stake", 2**63),
        ("trusted", "abc"),
        ("excluded", ["16Uiu2HAmXYZ"]),
    ],
)
def test_what_is_no_amount_and_what_names_no_peer_names_its_option(name, value):
    with pytest.raises(InvalidRequest, match=f"^{name}: "):
        ClientConfig(**{name: value})


def test_an_amount_may_be_text_wherever_one_is_taken():
    assert parse_options({"priority_fee": "100n"}).priority_fee == parse_options({"priority_fee": 100}).priority_fee
    assert parse_options({"priority_fee": "0.000001"}).priority_fee == 1000


def test_no_limit_is_0_as_elsewhere():
    assert parse_options({"top_k": 0}) == parse_options({"top_k": None}) == parse_options({})


def test_a_client_may_be_told_in_several_forms():
    config = ClientConfig.of(
        Path("folder"), "/ip4/x", None,
        {"local_blocks": "2:1", "excluded": "oneZ", "trusted": {"twoZ"}, "budget": "0.5", "max_price": 5.0,
         "min_stake": 7, "ledger": Path("book"), "coverage_timeout_s": float("inf")},
    )  # fmt: skip
    assert (config.model, config.peers, config.local_blocks) == ("folder", ("/ip4/x",), (2, 1))
    assert (config.excluded, config.trusted) == (("oneZ",), ("twoZ",))
    assert (config.budget, config.max_price, config.min_stake, config.ledger) == (500_000_000, 5, 7, "book")


def test_a_secret_is_never_repeated():
    with pytest.raises(InvalidRequest, match=r"^secret is text, not bytes$"):
        ClientConfig(secret=b"hush")
    assert "hush" not in repr(ClientConfig(secret="hush" * 6))
