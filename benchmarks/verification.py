"""What audits by re-execution find, and whom they accuse wrongly: honest peers and cheats, on real text.

    python benchmarks/verification.py [--segments 16] [--quick]

The demo model in three hops of ten blocks. Honest peers compute what they announced on other kernels, in other batches
and pieces, with other processors' instructions, more or less precisely, and send it in any of the wire's dtypes. Cheats
save themselves work; those with cheaper weights compute with them in float32, so that nothing else gives them away.
Every result is judged bit by bit, within the tolerance, and from sketches of 4, 8 and 16 numbers a token.
"""

import argparse
import math
import os
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from common import RESULTS, machine, print_table, save_json
from swarm.model import BlockRange, open_checkpoint
from swarm.verify.audit.accumulated import Accumulated
from swarm.verify.audit.calibration import WIRES, Segment, hop_segments, text_segments
from swarm.verify.audit.judgement import (
    SEGMENT,
    WINDOW,
    Judgement,
    Verdict,
    accumulate,
    ratios,
    rounding,
    score,
    sketch_ratios,
)
from swarm.verify.audit.reexecution import Reexecutor, prefill
from swarm.verify.audit.thresholds import BUILT_IN
from swarm.verify.audit.variants import Announced, PlainProduct, Products, Variant, cheaper, cheats, fp8, honest
from swarm.verify.receipts.sketch import K, Sketch, project, sketch_seed
from swarm_kernels import Segment as Rows
from swarm_kernels import cpu, reference
from swarm_kernels.cpu.library import library

SEEN = 100  # segments of the text on which the built-in thresholds were chosen; figures are of what follows
SKETCHES = (4, 8, 16)
PAGE = 256
FORMATS = (("none", "bfloat16"), ("none", "float32"), ("int8", "bfloat16"), ("int4", "bfloat16"), ("nf4", "bfloat16"))
LEAST_SHOWN = 0.1
COLOURS = ("tab:blue", "tab:orange", "tab:purple")
SHOWN = (
    "peer",
    "windows",
    "window least",
    "window median",
    "window most",
    "segment least",
    "segment most",
    "segment outliers",
    "suspect %",
    "fail %",
    "convicted within",
    "most evidence",
    "equal bits %",
)
UNSEEN = ("int8 cache", "fp8 in one block of ten")  # no bar: reported as they are


class Outcome:
    """One variant at one hop and on one wire: for each way to look at it, the judgements of its segments."""

    def __init__(self, variant: str, is_honest: bool, blocks: tuple[int, int]):
        self.variant, self.is_honest, self.blocks = variant, is_honest, blocks
        self.judged: dict[str, list[Judgement]] = {}
        self.differing: list[int] = []  # rows of each segment that are not those of the fused kernels


def more_honest(announced: Announced) -> Iterator[Variant]:
    """Besides those of a calibration: the attention of transformers' eager path, and processors without AVX-512."""
    plain = announced.load(Products(PlainProduct, announced.dtype))
    yield Variant("torch, eager attention", partial(with_eager_attention, plain))
    if not cpu.is_available() or (announced.quant == "none" and announced.dtype == torch.float32):
        return
    fused = announced.load()
    yield Variant("fused", partial(prefill, fused))
    for level in ("avx512", "avx2"):
        with instructions(level):
            blocks = announced.load()
        yield Variant(f"fused, {level}", partial(with_instructions, level, blocks))


def more_cheats(announced: Announced) -> Iterator[Variant]:
    yield Variant("int8 cache", partial(with_int8_cache, announced.load()))
    if announced.quant == "none":
        yield Variant("fp8 in one block of ten", cheaper(announced, fp8, every=10))


def with_eager_attention(blocks: BlockRange, x: Tensor) -> Tensor:
    ours, reference._attend = reference._attend, eager_attention
    try:
        return prefill(blocks, x)
    finally:
        reference._attend = ours


def eager_attention(query: Tensor, keys: Tensor, values: Tensor, group: object, window: int | None) -> Tensor:
    """Scores and probabilities rounded to the activations' dtype, as transformers does it."""
    context = group.context(window)
    keys, values = (reference._gather(pool, context.slots) for pool in (keys, values))
    repeats = query.shape[1] // keys.shape[1]
    keys, values = keys.repeat_interleave(repeats, 1), values.repeat_interleave(repeats, 1)
    rows = query.unflatten(0, (len(keys), -1)).transpose(1, 2)  # [sessions, heads, queries, head_dim]
    scores = rows @ keys.transpose(2, 3) / math.sqrt(query.shape[2])
    if context.mask is not None:
        scores = scores.masked_fill(~context.mask, -math.inf)
    out = scores.float().softmax(-1).to(query.dtype) @ values
    return out.transpose(1, 2).flatten(0, 1).flatten(1)


@contextmanager
def instructions(level: str) -> Iterator[None]:
    """The fused kernels as built for another processor."""
    os.environ["SWARM_CPU_KERNELS"] = level
    library.cache_clear()
    try:
        yield
    finally:
        del os.environ["SWARM_CPU_KERNELS"]
        library.cache_clear()


def with_instructions(level: str, blocks: BlockRange, x: Tensor) -> Tensor:
    with instructions(level):
        return prefill(blocks, x)


@torch.inference_mode()
def with_int8_cache(blocks: BlockRange, x: Tensor, piece: int = 8) -> Tensor:
    """Keys and values in int8 with a scale a head, once they are no longer new."""
    config, pages = blocks.config, range(-(-len(x) // PAGE))
    shape = (len(pages), PAGE, config.num_kv_heads, config.head_dim)
    cache = [tuple(x.new_zeros(shape) for _ in "kv") for _ in range(blocks.start, blocks.stop)]
    out = []
    for start in range(0, len(x), piece):
        rows = x[start : start + piece]
        out.append(blocks.forward(rows, blocks.layout([Rows(pages, start, len(rows))], PAGE), cache))
        for pool in (pool for pair in cache for pool in pair):
            new = pool.flatten(0, 1)[start : start + piece]
            step = new.float().abs().amax(-1, keepdim=True).clamp(min=1e-30) / 127
            new.copy_((new / step).round() * step)
    return torch.cat(out)


def outcomes(quant: str, dtype: torch.dtype, segments: int) -> Iterator[Outcome]:
    checkpoint = open_checkpoint("demo")
    texts = text_segments(checkpoint, SEEN + segments)[SEEN:]
    for announced, given in hop_segments(checkpoint, quant, dtype, texts):
        fused = announced.load()
        exact = [prefill(fused, segment.x) for segment in given]
        for is_honest, sources in ((True, (honest, more_honest)), (False, (cheats, more_cheats))):
            for variant in (variant for source in sources for variant in source(announced)):
                print(f"{quant} {dtype} {announced.start}:{announced.stop} {variant.name}", flush=True)
                yield from look_at(variant, is_honest, announced, given, exact)


def look_at(
    variant: Variant, is_honest: bool, announced: Announced, given: list[Segment], exact: list[Tensor]
) -> Iterator[Outcome]:
    results = [variant.run(segment.x) for segment in given]
    for wire in WIRES:
        found = Outcome(variant.name, is_honest, (announced.start, announced.stop))
        for segment, y, same in zip(given, results, exact, strict=True):
            found.differing.append(differing_rows(y.to(announced.dtype), same))
            y = y.to(wire)
            tolerant = ratios(segment.x, y, segment.reference, segment.noise)
            spread = rounding(segment.reference, segment.noise, wire)
            found.judged.setdefault("tolerant", []).append(score(tolerant, spread, 0, BUILT_IN, "tolerant"))
            for k in SKETCHES:
                estimated = sketch_ratios(segment.x, sketches(segment.x, y, k), *segment[1:], wire)
                found.judged.setdefault(f"sketch of {k}", []).append(score(estimated, spread, 0, BUILT_IN, "sketch"))
        yield found


def differing_rows(y: Tensor, same: Tensor) -> int:
    """How many rows [tokens, hidden_size] differ in any bit."""
    integers = {2: torch.int16, 4: torch.int32}[y.element_size()]
    return int((y.contiguous().view(integers) != same.contiguous().view(integers)).any(1).sum())


def sketches(x: Tensor, y: Tensor, k: int) -> list[Sketch]:
    """One for each chunk of 32 tokens, as a server makes them while it decodes; with roots that depend on y."""
    parts = []
    for before, after in zip(x.split(WINDOW), y.split(WINDOW), strict=True):
        roots = (before.float().numpy().tobytes()[:32], after.float().numpy().tobytes()[:32])
        parts.append(Sketch(project(after.float() - before.float(), sketch_seed(*roots), k), *roots))
    return parts


def row(name: str, found: list[Outcome], method: str) -> dict[str, object]:
    judged = [judgement for one in found for judgement in one.judged[method]]
    windows = [window for judgement in judged for window in judgement.windows]
    share = {verdict: sum(judgement.verdict == verdict for judgement in judged) for verdict in Verdict}
    return {
        "peer": name,
        "honest": found[0].is_honest,
        "segments": len(judged),
        "windows": len(windows),
        "window least": min((window.median for window in windows), default=math.inf),
        "window median": statistics.median(window.median for window in windows) if windows else math.inf,
        "window most": max((window.median for window in windows), default=math.inf),
        "segment least": min(judgement.statistic for judgement in judged),
        "segment most": max(judgement.statistic for judgement in judged),
        "window outliers": max((round(window.outliers, 1) for window in windows), default=0),
        "segment outliers": max(round(sum(window.outliers for window in judgement.windows), 1) for judgement in judged),
        "suspect windows": sum(window.verdict != Verdict.PASS for window in windows),
        "suspect %": 100 * share[Verdict.SUSPECT] / len(judged),
        "fail %": 100 * share[Verdict.FAIL] / len(judged),
        "convicted within": convicted_within(found, method),
        "most evidence": max(evidence(one.judged[method]) for one in found),
        "equal bits %": 100 * statistics.fmean(count == 0 for one in found for count in one.differing),
    }


def convicted_within(found: list[Outcome], method: str) -> int | None:
    """Segments until conviction, the most from any start, a fail convicting at once; None: not always."""
    worst = 0
    for one in found:
        judged = one.judged[method]
        for start in range(len(judged)):
            state, needed = Accumulated(), None
            for count, judgement in enumerate(judged[start:] + judged[:start], 1):
                state = accumulate(state, judgement, BUILT_IN)
                if judgement.verdict == Verdict.FAIL or state.convicts:
                    needed = count
                    break
            if needed is None:
                return None
            worst = max(worst, needed)
    return worst


def evidence(judged: list[Judgement]) -> float:
    """The most that ever was held against one peer."""
    state, most = Accumulated(), 0.0
    for judgement in judged:
        state = accumulate(state, judgement, BUILT_IN)
        most = max(most, state.score)
    return most


def tables(found: list[Outcome]) -> dict[str, list[dict[str, object]]]:
    """Each method's rows, one a variant."""
    names = dict.fromkeys(one.variant for one in found)
    return {
        method: [row(name, [one for one in found if one.variant == name], method) for name in names]
        for method in found[0].judged
    }


def summary(rows: list[dict[str, object]]) -> dict[str, object]:
    """The bars."""
    good, bad = ([row for row in rows if row["honest"] == is_honest] for is_honest in (True, False))
    strong = [row for row in bad if not row["peer"].startswith("int8") and row["peer"] not in UNSEEN]
    weak = [row for row in bad if row["peer"].startswith("int8") and row["peer"] not in UNSEEN]
    return {
        "honest windows": sum(row["windows"] for row in good),
        "honest windows that fail or are suspect": sum(row["suspect windows"] for row in good),
        "honest segments that fail or are suspect, %": max(row["suspect %"] + row["fail %"] for row in good),
        "most evidence against an honest peer": max(row["most evidence"] for row in good),
        "cheats: least share of segments that fail, %": min((row["fail %"] for row in strong), default=None),
        "int8: least share of segments at least suspect, %": min(
            (row["suspect %"] + row["fail %"] for row in weak), default=None
        ),
        "int8: convicted within segments": max((row["convicted within"] or math.inf for row in weak), default=None),
        "cheats with equal bits, %": max(row["equal bits %"] for row in bad),
    }


def made_up_inputs(segments: int) -> list[dict[str, object]]:
    """A client that wants an honest peer convicted chooses the inputs: noise of any size, zeros, one row for ever."""
    checkpoint = open_checkpoint("demo")
    hops = hop_segments(checkpoint, "none", torch.bfloat16, text_segments(checkpoint, 1))
    return [row for announced, _ in hops for row in made_up(announced, segments)]


def made_up(announced: Announced, segments: int) -> Iterator[dict[str, object]]:
    own, variants = Reexecutor(*announced), [*honest(announced), *more_honest(announced)]
    generator = torch.Generator().manual_seed(announced.start)
    shape = (segments, SEGMENT, announced.checkpoint.config.hidden_size)
    noise, one = torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)[:, :1]
    kinds = {f"noise of {size:g}": size * noise for size in (1e-3, 0.1, 10, 1e4, 1e20)}
    kinds |= {"one row for ever": one.expand(shape), "one row, a little changed": one + 0.02 * noise}
    half = torch.arange(SEGMENT)[:, None] % 2 == 0
    kinds |= {"one row every other time": torch.where(half, one, noise), "zeros": torch.zeros(shape)}
    for kind, inputs in kinds.items():
        print(f"made up: {kind}, blocks {announced.start}:{announced.stop}", flush=True)
        judged = []
        for x in inputs.to(announced.dtype):
            reference, noise = own.reference(x), own.noise(x)
            for y in (variant.run(x).to(wire) for variant in variants for wire in WIRES):
                found = ratios(x, y, reference, noise)
                judged.append(score(found, rounding(reference, noise, y.dtype), 0, BUILT_IN, "tolerant"))
        yield {
            "inputs": kind,
            "blocks": f"{announced.start}:{announced.stop}",
            "segments": len(judged),
            "most": max(judgement.statistic for judgement in judged),
            "suspect": sum(judgement.verdict == Verdict.SUSPECT for judgement in judged),
            "fail": sum(judgement.verdict == Verdict.FAIL for judgement in judged),
        }


def plot(found: list[Outcome], rows: list[dict[str, object]]) -> None:
    figure = Figure(figsize=(11, 0.18 * len(rows) + 1.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    plot_ranges(left, rows)
    plot_roc(right, found)
    path = RESULTS / "verification.png"
    figure.savefig(path, dpi=150)
    print(f"saved {path}")


def plot_ranges(axes: Axes, rows: list[dict[str, object]]) -> None:
    for height, row in enumerate(rows[::-1]):
        colour = "tab:green" if row["honest"] else "tab:red"
        least, middle, most = (max(row[f"window {which}"], LEAST_SHOWN) for which in ("least", "median", "most"))
        axes.plot((least, most), (height, height), color=colour, linewidth=3, solid_capstyle="butt")
        axes.plot(middle, height, "o", color=colour, markersize=4)
    for limit, name in ((BUILT_IN.suspect, "suspect"), (BUILT_IN.fail, "fail")):
        axes.axvline(limit, color="black", linewidth=0.8, linestyle=":")
        axes.text(limit, len(rows) - 0.3, name, ha="center", va="bottom", fontsize=8)
    axes.set_xscale("log")
    axes.set_xticks([0.1, 0.3, 1, 3, 10, 30, 100], ["0.1", "0.3", "1", "3", "10", "30", "100"])
    axes.set_yticks(range(len(rows)), [row["peer"] for row in rows[::-1]], fontsize=8)
    axes.set_xlabel("error in parts of the auditor's noise: medians of 32 tokens, from least to most")
    clear(axes)


def plot_roc(axes: Axes, found: list[Outcome]) -> None:
    """Of the cheats that are hard to tell from honest peers, by the median of a segment."""
    for peer in ("int8 weights", *UNSEEN):
        for method, line in (("tolerant", "-"), (f"sketch of {K}", "--")):
            honest_values, cheating = (
                torch.tensor([judged.statistic for one in found if which(one) for judged in one.judged[method]])
                for which in (lambda one: one.is_honest, lambda one, peer=peer: one.variant == peer)
            )
            limits = torch.cat((honest_values, cheating)).sort().values
            alarms, caught = ((values[:, None] > limits).float().mean(0) for values in (honest_values, cheating))
            colour = COLOURS[("int8 weights", *UNSEEN).index(peer)]
            label = f"{peer}, {'outputs' if method == 'tolerant' else method}"
            axes.plot(100 * alarms, 100 * caught, line, color=colour, label=label, drawstyle="steps-post")
    axes.set_xlabel("honest segments accused, %")
    axes.set_ylabel("cheating segments found, %")
    axes.set_ylim(0, 103)
    axes.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1, 0.05))
    clear(axes)


def clear(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--segments", type=int, default=16, metavar="N", help=f"of {SEGMENT} tokens (default: 16)")
    parser.add_argument("--quick", action="store_true", help="two segments, unquantised bfloat16 only")
    args = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, object] = {"machine": machine(), "model": "demo", "formats": {}}
    for quant, dtype in FORMATS[:1] if args.quick else FORMATS:
        # The format that most peers serve gets most of the time.
        segments = 2 if args.quick else args.segments if (quant, dtype) == FORMATS[0] else max(args.segments // 8, 1)
        found = list(outcomes(quant, getattr(torch, dtype), segments))
        rows = tables(found)
        bars = {method: summary(rows[method]) for method in rows}
        result["formats"][f"{quant}/{dtype}"] = {"bars": bars, "peers": rows}
        print(f"\n{quant}/{dtype}")
        print_table([{name: row[name] for name in SHOWN} for row in rows["tolerant"]])
        print_table([{"method": method, **bars[method]} for method in bars])
        if (quant, dtype) == FORMATS[0]:
            plot(found, rows["tolerant"])
        save(result, args.quick)
    result["made-up inputs"] = made_up_inputs(1 if args.quick else 2)
    print_table(result["made-up inputs"])
    save(result, args.quick)


def save(result: dict[str, object], quick: bool) -> None:
    if not quick:  # what takes so long is kept as it comes
        save_json("verification", result)


if __name__ == "__main__":
    main()
