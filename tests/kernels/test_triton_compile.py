"""What the kernels become on real GPUs, without one: machine code for sm_80 and sm_90 at the shapes of Llama-3-8B.

No local memory (spills), weights and cache read 128 bits at a time, tensor-core instructions for every product, and
caps on registers. The disassembler comes with triton.
"""
# ruff: noqa: E402 (without triton the rest cannot be imported)

import re
import subprocess
from pathlib import Path

import pytest

triton = pytest.importorskip("triton", reason="triton is not installed (extra `cuda`)")
if triton.knobs.runtime.interpret:
    pytest.skip("under TRITON_INTERPRET=1 nothing can be compiled", allow_module_level=True)

from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from swarm_kernels.triton import attention, launch, product, rope

HIDDEN, INTERMEDIATE, HEADS, KV_HEADS, HEAD_DIM, PAGE = 4096, 14336, 32, 8, 128, 16

# Per format: pointers to codes, scales and levels; kind, group, and elements of a row in a panel; columns of a panel.
FORMATS = {
    "bf16": (("*bf16", None, None), ("dense", 0, 64), 64),
    "int8": (("*i8", "*fp16", None), ("int8", 32, 128), 128),
    "int4": (("*u8", "*i32", None), ("int4", 32, 64), 128),
    "int4-g64": (("*u8", "*i32", None), ("int4", 64, 64), 128),
    "nf4": (("*u8", "*fp32", "*fp32"), ("nf4", 64, 64), 128),
}


def _product(format: str, block_m: int, qkv: bool) -> tuple:
    """The QKV product (after a norm, with a bias), or O and down (with a residual, and a norm to follow)."""
    pointers, (kind, group, width), block_k = FORMATS[format]
    codes, scale, levels = pointers
    rows = (HEADS + 2 * KV_HEADS) * HEAD_DIM if qkv else HIDDEN
    before, after = ("*bf16", None) if qkv else (None, "*bf16")
    squares = ("*fp32", None) if qkv else (None, "*fp32")
    arguments = {
        "x_ptr": "*bf16", "codes_ptr": codes, "scale_ptr": scale, "levels_ptr": levels,
        "bias_ptr": before, "in_squares_ptr": squares[0], "residual_ptr": after, "out_ptr": "*bf16",
        "gain_ptr": after, "gained_ptr": after, "squares_ptr": squares[1], "tokens": "i32", "rows": rows,
        "padded_rows": rows, "columns": HIDDEN, "panels": HIDDEN // block_k, "eps": "fp32",
    }  # fmt: skip
    constants = {"KIND": kind, "GROUP": group, "WIDTH": width, "BLOCK_N": 32, "BLOCK_M": block_m}
    return product.product_kernel, arguments, constants


def _gated(format: str, block_m: int) -> tuple:
    pointers, (kind, group, width), block_k = FORMATS[format]
    codes, scale, levels = pointers
    arguments = {
        "x_ptr": "*bf16", "gate_ptr": codes, "gate_scale_ptr": scale,
        "gate_bias_ptr": None, "up_ptr": codes, "up_scale_ptr": scale, "up_bias_ptr": None,
        "levels_ptr": levels, "in_squares_ptr": "*fp32", "out_ptr": "*bf16", "tokens": "i32", "rows": INTERMEDIATE,
        "padded_rows": INTERMEDIATE, "columns": HIDDEN, "panels": HIDDEN // block_k, "eps": "fp32",
    }  # fmt: skip
    constants = {"KIND": kind, "GROUP": group, "WIDTH": width, "BLOCK_N": 32, "BLOCK_M": block_m}
    return product.gated_kernel, arguments, {"ACTIVATION": "silu", **constants}


def _cache(int8: bool) -> dict:
    pool, scales = ("*i8", "*fp32") if int8 else ("*bf16", None)
    return {"keys_ptr": pool, "values_ptr": pool, "key_scales_ptr": scales, "value_scales_ptr": scales}


_ATTENTION = {"NUM_KV_HEADS": KV_HEADS, "REPEATS": 4, "HEAD_DIM": HEAD_DIM, "PAGE_SIZE": PAGE, "BLOCK_D": HEAD_DIM}


def _decode(int8: bool) -> tuple:
    arguments = {
        "query_ptr": "*bf16", "rows_ptr": "*i32", "sessions_ptr": "*i32", "positions_ptr": "*i32",
        "table_ptr": "*i32", **_cache(int8), "tops_ptr": "*fp32", "totals_ptr": "*fp32", "accs_ptr": "*fp32",
        "scale": "fp32", "window": "i32", "table_width": 512, "splits": "i32",
    }  # fmt: skip
    return attention.decode_kernel, arguments, {**_ATTENTION, "ROWS": 16}


def _prefill(int8: bool) -> tuple:
    arguments = {
        "query_ptr": "*bf16", "rows_ptr": "*i32", "counts_ptr": "*i32", "sessions_ptr": "*i32",
        "positions_ptr": "*i32", "table_ptr": "*i32", **_cache(int8), "out_ptr": "*bf16", "scale": "fp32",
        "window": "i32", "table_width": 512,
    }  # fmt: skip
    return attention.prefill_kernel, arguments, {**_ATTENTION, "REPEATS_POWER": 4, "ROWS": 32}


def _combine() -> tuple:
    arguments = {
        "rows_ptr": "*i32", "positions_ptr": "*i32", "tops_ptr": "*fp32", "totals_ptr": "*fp32", "accs_ptr": "*fp32",
        "out_ptr": "*bf16", "window": "i32", "splits": "i32",
    }  # fmt: skip
    return attention.combine_kernel, arguments, {"NUM_HEADS": HEADS, "HEAD_DIM": HEAD_DIM, "BLOCK_D": HEAD_DIM}


def _rope(int8: bool) -> tuple:
    arguments = {
        "qkv_ptr": "*bf16", "query_ptr": "*bf16", "cos_ptr": "*fp32", "sin_ptr": "*fp32", "slots_ptr": "*i64",
        "q_norm_ptr": "*bf16", "k_norm_ptr": "*bf16", **_cache(int8), "eps": "fp32",
    }  # fmt: skip
    constants = {"NUM_HEADS": HEADS, "NUM_KV_HEADS": KV_HEADS, "HALF": HEAD_DIM // 2, "BLOCK_HALF": HEAD_DIM // 2}
    return rope.rope_append_kernel, arguments, constants


def _widen() -> tuple:
    arguments = {
        "stream_ptr": "*bf16", "gain_ptr": "*bf16", "gained_ptr": "*bf16", "squares_ptr": "*fp32", "tokens": "i32",
        "rows": HIDDEN,
    }  # fmt: skip
    return product.widen_kernel, arguments, {"BLOCK_N": 64, "BLOCK_M": 16}


def _cases() -> list:
    """A kernel with its arguments, warps, stages, most registers, whether it must load 128 bits at a time."""
    decode, prefill = launch.TILES.default(1), launch.TILES.default(64)
    cases = []
    for format in FORMATS:
        for tokens, tile in ((16, decode), (64, prefill)):
            for name, case in (("qkv", _product(format, tokens, True)), ("o", _product(format, tokens, False))):
                limit = 104 if tokens == 16 else 184
                cases.append((f"{name} {format} {tokens}", case, tile.num_warps, tile.num_stages, limit, True))
            limit = 152 if tokens == 16 else 255
            gated = _gated(format, tokens)
            cases.append((f"gated {format} {tokens}", gated, tile.num_warps, tile.num_stages, limit, True))
    for int8 in (False, True):
        pool = "int8" if int8 else "bf16"
        cases.append((f"decode {pool}", _decode(int8), 4, 2, 128, True))
        cases.append((f"prefill {pool}", _prefill(int8), 8, 2, 200, True))
        cases.append((f"rope {pool}", _rope(int8), 1, 3, 40, False))
    cases += [("combine bf16", _combine(), 1, 3, 40, True), ("widen bf16", _widen(), 4, 3, 40, True)]
    fast = {"qkv bf16 16", "gated int4 16", "o nf4 16", "decode bf16", "prefill int8", "rope bf16", "combine bf16"}
    return [pytest.param(*case, id=name, marks=() if name in fast else pytest.mark.slow) for name, *case in cases]


def _disassemble(case: tuple, arch: int, warps: int, stages: int, folder: Path) -> tuple[str, str]:
    """The machine code of a kernel, and what cuobjdump says it uses. Numbers in place of types are 32-bit integers."""
    kernel, arguments, constants = case
    given = {name: value for name, value in arguments.items() if value is not None}
    types = {name: value if isinstance(value, str) else "i32" for name, value in given.items()}
    signature = {name: types.get(name, "constexpr") for name in kernel.arg_names}
    # As at run time: addresses, and those integers divisible by 16 that are not exempt from specialisation.
    divisible = {
        name for name, value in given.items() if (value[0] == "*" if isinstance(value, str) else value % 16 == 0)
    }
    attributes = {
        (index,): [["tt.divisibility", 16]] for index, name in enumerate(kernel.arg_names) if name in divisible
    }
    absent = {name: None for name in arguments if name not in given}
    source = ASTSource(kernel, signature, {**absent, **constants}, attributes)
    options = {"num_warps": warps, "num_stages": stages, "enable_fp_fusion": False}
    compiled = triton.compile(source, target=GPUTarget("cuda", arch, 32), options=options)
    cubin = folder / "kernel.cubin"
    cubin.write_bytes(compiled.asm["cubin"])
    return _run("nvdisasm", "-c", cubin), _run("cuobjdump", "--dump-resource-usage", cubin)


def _run(tool: str, *arguments: str | Path) -> str:
    path = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / tool
    return subprocess.run([path, *arguments], capture_output=True, text=True, check=True).stdout


@pytest.fixture(autouse=True)
def _no_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(triton.knobs.cache, "dir", str(tmp_path / "cache"))


@pytest.mark.parametrize("arch", [80, 90])
@pytest.mark.parametrize(("case", "warps", "stages", "most_registers", "wide"), _cases())
def test_machine_code(case, warps, stages, most_registers, wide, arch, tmp_path):
    code, usage = _disassemble(case, arch, warps, stages, tmp_path)
    registers, stack = map(int, re.search(r"REG:(\d+) STACK:(\d+)", usage).groups())
    assert registers <= most_registers
    assert stack == 0 and not re.search(r"\b(LDL|STL)\b", code), "registers spill to local memory"
    assert not wide or re.search(r"\b(LDG|LDGSTS)[.A-Z0-9]*\.128\b", code), "no loads of 128 bits"
    kernel = case[0]
    if kernel in (product.product_kernel, product.gated_kernel):
        copied = re.findall(r"\bLDGSTS[.A-Z0-9]*", code)
        assert copied, "weights are not copied ahead to shared memory"
        wide_copies = sum(".128" in copy for copy in copied)
        assert wide_copies >= len(copied) / 2, "not only scales are copied by narrow loads"
    if kernel in (product.product_kernel, product.gated_kernel, attention.decode_kernel, attention.prefill_kernel):
        # Hopper's wgmma (HGMMA) may add in another order; see arithmetic.py.
        assert "HMMA.16816.F32.BF16" in code and "HGMMA" not in code
