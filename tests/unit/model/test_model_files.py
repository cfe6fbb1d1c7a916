"""Models from files: what is read, what is refused."""

import json
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file

from gguf_writing import write_gguf
from model_files import load_everything, small_model
from swarm.errors import ModelError
from swarm.model import BlockRange, open_checkpoint


@pytest.fixture
def gguf_file(tmp_path):
    write_gguf(small_model(), tmp_path / "small.gguf", "llama")
    return tmp_path / "small.gguf"


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


@pytest.mark.parametrize("index", [0, 1024, -1], ids=["beginning", "middle", "end"])
def test_a_revision_notices_a_change_wherever_it_samples_a_tensor(folder, index):
    file, name = folder / "model.safetensors", "model.layers.2.mlp.down_proj.weight"
    tensors = load_file(file)
    save_file(tensors, file)
    before = open_checkpoint(str(folder)).revision
    assert tensors[name].numel() == 2048
    tensors[name].view(-1)[index] += 1
    save_file(tensors, file)
    assert open_checkpoint(str(folder)).revision != before


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
