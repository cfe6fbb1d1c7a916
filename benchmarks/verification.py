"""What audits by re-execution find, and whom they accuse wrongly: honest peers and cheats, on real text.

    python benchmarks/verification.py [--segments 16] [--quick]

The demo model in three hops of ten blocks. Honest peers compute what they announced on other kernels, in other batches
and pieces, with other processors' instructions, more or less precisely, and send it in any of the wire's dtypes. Cheats
save themselves work; those with cheaper weights compute with them in float32, so that nothing else gives them away.
Every result is judged bit by bit, within the tolerance, and from sketches of 4, 8 and 16 numbers a token.
"""

import harness.needs  # noqa: F401 - first: it says what is missing

import math
import statistics
from collections.abc import Iterator

import torch
from torch import Tensor

from harness.more_variants import more_cheats, more_honest
from harness.report import Report, make_parser, print_table
from harness.verification_plots import UNSEEN, Outcome, plot
from swarm.model import open_checkpoint
from swarm.verify.audit.calibrating.calibration import WIRES, Segment, hop_segments, text_segments
from swarm.verify.audit.calibrating.variants import Announced, Variant, cheats, honest
from swarm.verify.audit.judging.accumulated import Accumulated
from swarm.verify.audit.judging.judgement import (
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
from swarm.verify.audit.judging.thresholds import BUILT_IN
from swarm.verify.audit.reexecution import Reexecutor, prefill
from swarm.verify.receipts.sketch import Sketch, project, sketch_seed

SEEN = 100  # segments of the text on which the built-in thresholds were chosen; figures are of what follows
SKETCHES = (4, 8, 16)
FORMATS = (("none", "bfloat16"), ("none", "float32"), ("int8", "bfloat16"), ("int4", "bfloat16"), ("nf4", "bfloat16"))
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


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--segments", type=int, default=16, metavar="N", help=f"of {SEGMENT} tokens (default: 16)")
    parser.add_argument("--quick", action="store_true", help="two segments, unquantised bfloat16 only")
    args = parser.parse_args()
    report = Report(args)
    torch.set_num_threads(1)
    result: dict[str, object] = {"model": "demo", "formats": {}}
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
            report.draw(plot(found, rows["tolerant"]), "verification")
        report.save("verification", result)  # what takes so long is kept as it comes
    result["made-up inputs"] = made_up_inputs(1 if args.quick else 2)
    print_table(result["made-up inputs"])
    report.save("verification", result)  # what takes so long is kept as it comes


if __name__ == "__main__":
    main()
