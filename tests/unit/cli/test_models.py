"""How much of a model fits where, as `python -m swarm models` says it."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from model_files import small_model
from swarm.cli.models import verb
from swarm.cli.models.fit import Cache, Format, fit, formats
from swarm.cli.models.shape import Shape, read_shape
from swarm.cli.support import exits
from swarm.errors import ModelError
from swarm.model.kv_cache import PagePool
from swarm.model.layout import blocks_within
from swarm.server.config import ServerConfig
from swarm_kernels import QUANTS

SHAPES = Path(__file__).parents[3] / "docs" / "shapes"
PAGE = Path(__file__).parents[3] / "docs" / "models.md"
GIB = 1 << 30


@pytest.fixture(autouse=True)
def _no_swarm(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("SWARM_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.delenv("SWARM_PEERS", raising=False)


def as_json(capsys, *arguments: str, status: int = 0) -> tuple[dict, str]:
    """Of the first model; and what was said on standard error."""
    assert verb.main([*arguments, "--json"]) == status
    output = capsys.readouterr()
    found = json.loads(output.out)["models"]
    return (found[0] if found else {}), output.err


def test_defaults_are_a_servers():
    assert ServerConfig().kv_memory_bytes == verb.KV_MEMORY
    for format in formats(QUANTS[1:]):
        assert format.dtype == ServerConfig(quant=format.quant).activations
    assert [format.dtype for format in formats(["none"])] == ["float32", "bfloat16"]


def test_the_table_in_the_docs_is_what_the_command_prints(capsys):
    command = "docs/shapes/*.json --quant none int8 int4 --markdown"
    page = PAGE.read_text()
    assert f"python -m swarm models {command}" in page
    assert verb.main([*map(str, sorted(SHAPES.glob("*.json"))), *command.split()[1:]]) == 0
    assert capsys.readouterr().out in page


def test_the_demo_models_shape_is_the_one_in_its_file(demo_checkpoint):
    stated, found = read_shape(str(SHAPES / "SmolLM2-135M.json")), read_shape("demo")
    assert (stated.num_blocks, stated.block_weights, stated.kv_values, stated.row_lengths) == (
        found.num_blocks, found.block_weights, found.kv_values, found.row_lengths,
    )  # fmt: skip
    assert found.block_weights * 4 == demo_checkpoint.block_nbytes(torch.float32)


def test_room_is_what_a_pool_of_pages_has(demo_checkpoint):
    found = fit(read_shape("demo"), Format("none", "float32"), GIB, Cache(1 << 24))
    pool = PagePool(demo_checkpoint.config, found.blocks, torch.float32, 1 << 24, torch.device("cpu"))
    assert found.tokens == pool.num_pages * 32


@settings(max_examples=200)
@given(
    memory=st.integers(1, 200 * GIB),
    context=st.integers(1, 100_000),
    sessions=st.integers(1, 100),
    quant=st.sampled_from(QUANTS),
)
def test_room_for_sessions_is_room_that_a_server_gives(memory, context, sessions, quant):
    """With --memory and --kv-memory as they are printed."""
    shape = read_shape(str(SHAPES / "Qwen3-32B.json"))
    format = Format(quant, "bfloat16")
    found = fit(shape, format, memory, Cache(0, context, sessions))
    if found.blocks:
        assert found.sessions >= sessions
        assert found.cache_nbytes % (1 << 20) == 0
        served = blocks_within(memory - found.cache_nbytes, format.block_nbytes(shape), shape.num_blocks)
        assert served == found.blocks


def test_an_architecture_that_is_not_known_is_an_error_with_sizes(tmp_path, capsys):
    model = small_model()
    model.save_pretrained(tmp_path)
    known, _ = as_json(capsys, str(tmp_path))
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"architectures": ["WhaleForCausalLM"]}))
    found, said = as_json(capsys, str(tmp_path), status=1)
    assert said.startswith("error: architecture 'WhaleForCausalLM' is not supported") and said.count("\n") == 1
    for name in ("num_blocks", "block_weights", "kv_values"):
        assert found[name] == known[name], name
    assert found["architecture"] == "WhaleForCausalLM"


def test_an_architecture_that_is_not_known_and_has_no_weights_is_one_line(tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["WhaleForCausalLM"]}))
    found, said = as_json(capsys, str(tmp_path), status=1)
    assert found == {} and said.count("\n") == 1
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"model.layers.0.x": "../../x"}}')
    assert as_json(capsys, str(tmp_path), status=1)[0] == {}


def test_packed_weights_do_not_tell_their_number(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["WhaleForCausalLM"]}))
    save_file({"model.layers.0.mlp.qweight": torch.zeros(8, 8, dtype=torch.int32)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="not supported"):
        read_shape(str(tmp_path))


def test_formats_whose_groups_do_not_divide_the_rows_are_left_out(tmp_path, capsys):
    config = json.loads((SHAPES / "Llama-3-8B.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"intermediate_size": 14336 + 32}))
    found, _ = as_json(capsys, str(tmp_path))
    assert {entry["quant"] for entry in found["formats"]} == set(QUANTS) - {"int4-g64", "nf4"}
    assert verb.main([str(tmp_path)]) == 0
    assert "Not in int4-g64, nf4" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["/no/such/folder"], exits.FAILED), (["README.md"], exits.FAILED),
        *((words, exits.WRONG) for words in (
            ["demo", "--memory", "lots"], ["demo", "--memory", "0"], ["demo", "--sessions", "3"],
            ["demo", "--context", "0"], ["demo", "--context", "9", "--sessions", "3", "--kv-memory", "1G"],
            ["demo", "--peers", "nonsense"],
        )),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_one_line(arguments, status, capsys):
    assert verb.main(arguments) == status
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1


def test_where_the_cache_alone_takes_all_memory_it_is_said(capsys):
    assert verb.main(["demo", "--memory", "100M", "2G", "--quant", "int4"]) == 0
    told = "Nothing is left for blocks of 100 MiB: the cache alone takes 1 GiB (--kv-memory).\n"
    assert told in capsys.readouterr().out
    assert verb.main(["demo", "--memory", "100M", "--quant", "int4", "--kv-memory", "50M"]) == 0
    assert "Nothing is left" not in capsys.readouterr().out


def test_memory_for_less_than_a_cache_holds_nothing():
    shape = Shape("x", "y", 4, 1000, 10)
    assert fit(shape, Format("none", "float32"), 1000, Cache(2000)).blocks == 0
    assert fit(shape, Format("none", "float32"), 0, Cache(0, 10, 10)).blocks == 0
