"""Thresholds from measurements: honest peers of a format against cheats, on real text.

`measure` runs them, `choose` draws the lines, `save_thresholds` and `load_thresholds` keep them, in a folder of files
that are named after the model's revision and the format.
"""

import json
import math
import os
import platform
import pydoc_data.topics
import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from swarm import shown
from swarm.errors import InvalidRequest, UnusableFile
from swarm.model import Checkpoint, ModelEnds
from swarm.storage.files import write_whole
from swarm.verify.audit.calibrating.variants import Announced, Variant, cheats, honest
from swarm.verify.audit.judging.judgement import SEGMENT, WINDOW, Judgement, Verdict, ratios, score
from swarm.verify.audit.judging.thresholds import BUILT_IN, Provenance, Thresholds
from swarm.verify.audit.reexecution import Reexecutor

HOPS = 3  # into which the model is cut
WIRES = (torch.float32, torch.bfloat16, torch.float16)

# How far beyond the worst honest measurement the lines are drawn.
_WINDOW_MARGIN, _SEGMENT_MARGIN = 1.15, 1.08
_MORE_OUTLIERS = 4
_DIFFERENT = torch.eye(SEGMENT)  # rounding of tokens that have nothing in common, as text has little
_MEAN_MARGIN, _DEVIATION_MARGIN = 0.03, 2.0


class Segment(NamedTuple):
    """One segment of text at one hop, all [SEGMENT, hidden_size]: inputs in the announced dtype, and what the auditor
    computes from them."""

    x: Tensor
    reference: Tensor
    noise: Tensor


@dataclass(frozen=True, slots=True)
class Measured:
    """One variant at one hop.

    found: each segment's ratios, [SEGMENT], for each dtype of the wire in turn
    """

    name: str
    is_honest: bool
    blocks: tuple[int, int]
    found: tuple[Tensor, ...]


Progress = Callable[[str], None]  # told what is at work, once for each variant and hop


def text_segments(checkpoint: Checkpoint, count: int) -> list[list[int]]:
    """Token ids of `count` segments of Python's own reference documentation, which every Python carries.

    Raises InvalidRequest for more than there are.
    """
    tokens = checkpoint.load_tokenizer()("\n\n".join(pydoc_data.topics.topics.values()))["input_ids"]
    available = len(tokens) // SEGMENT
    if not 1 <= count <= available:
        raise InvalidRequest(f"{shown.count(count, 'segment')} of {SEGMENT} tokens; the text has 1 to {available}")
    return [tokens[index * SEGMENT : (index + 1) * SEGMENT] for index in range(count)]


def hop_segments(
    checkpoint: Checkpoint, quant: str, dtype: torch.dtype, texts: Sequence[Sequence[int]]
) -> Iterator[tuple[Announced, list[Segment]]]:
    """For each hop what peers announce there, and the segments as they arrive."""
    ends = ModelEnds.load(checkpoint, torch.float32, "float32")
    inputs = [ends.embed(text).to(dtype) for text in texts]
    blocks = checkpoint.config.num_blocks
    cuts = sorted({round(blocks * hop / HOPS) for hop in range(HOPS + 1)})
    for start, stop in pairwise(cuts):
        own = Reexecutor(checkpoint, start, stop, quant, dtype)
        segments = [Segment(x, own.reference(x), own.noise(x)) for x in inputs]
        yield Announced(checkpoint, start, stop, quant, dtype), segments
        inputs = [own.exact(x) for x in inputs]


def measure(
    checkpoint: Checkpoint, quant: str, dtype: torch.dtype, segments: int, progress: Progress = lambda name: None
) -> Iterator[Measured]:
    """Every honest variant and every cheat at every hop, on `segments` segments."""
    for announced, given in hop_segments(checkpoint, quant, dtype, text_segments(checkpoint, segments)):
        for is_honest, variants in ((True, honest(announced)), (False, cheats(announced))):
            for variant in variants:
                progress(f"blocks {announced.start}:{announced.stop}, {variant.name}")
                found = tuple(_ratios(variant, given))
                yield Measured(variant.name, is_honest, (announced.start, announced.stop), found)


def _ratios(variant: Variant, segments: Sequence[Segment]) -> Iterator[Tensor]:
    for segment in segments:
        y = variant.run(segment.x)
        for wire in WIRES:
            yield ratios(segment.x, y.to(wire), segment.reference, segment.noise)


def choose(measured: Sequence[Measured], provenance: Provenance) -> Thresholds:
    """Lines beyond everything honest, by a margin; never tighter than what other models needed."""
    good = [one for one in measured if one.is_honest]
    judged = [[score(found, _DIFFERENT, 0, BUILT_IN, "tolerant") for found in one.found] for one in good]
    segments = [judgement for one in judged for judgement in one]
    windows = [window for judgement in segments for window in judgement.windows]
    medians = [[judgement.statistic for judgement in one] for one in judged]
    logs = [[math.log(max(median, 1e-9)) for median in one] for one in medians]
    suspect = _up(max(1.2, _WINDOW_MARGIN * max(window.median for window in windows)))
    deviations = [statistics.pstdev(one) for one in logs]
    return Thresholds(
        suspect=suspect,
        fail=max(BUILT_IN.fail, _up(2 * suspect)),
        outlier=BUILT_IN.outlier,
        outliers=max(BUILT_IN.outliers, _MORE_OUTLIERS + round(max(window.outliers for window in windows))),
        segment_outliers=max(BUILT_IN.segment_outliers, _MORE_OUTLIERS + max(map(_outliers, segments))),
        segment=_up(max(1.1, _SEGMENT_MARGIN * max(map(max, medians)))),
        mean=_up(max(0.0, *map(statistics.fmean, logs)) + _MEAN_MARGIN),
        deviation=_up(max(0.05, _DEVIATION_MARGIN * max(deviations))),
        provenance=replace(provenance, trials=len(windows)),
    )


def _outliers(judgement: Judgement) -> int:
    return round(sum(window.outliers for window in judgement.windows))


def _up(value: float) -> float:
    """To two decimals."""
    return math.ceil(100 * value) / 100


def summarise(measured: Sequence[Measured], thresholds: Thresholds) -> list[dict[str, str | float]]:
    """A row a variant, over all hops and wires: its windows' and segments' medians, outliers, and verdicts."""
    rows: list[dict[str, str | float]] = []
    for name in dict.fromkeys(one.name for one in measured):
        ours = [one for one in measured if one.name == name]
        judged = [score(found, _DIFFERENT, 0, thresholds, "tolerant") for one in ours for found in one.found]
        windows = [window.median for judgement in judged for window in judgement.windows]
        count = len(judged)
        verdicts = {verdict: sum(judgement.verdict == verdict for judgement in judged) for verdict in Verdict}
        rows.append(
            {
                "variant": name,
                "honest": ours[0].is_honest,
                "windows": count * SEGMENT // WINDOW,
                "least": min(windows, default=math.inf),
                "median": statistics.median(windows) if windows else math.inf,
                "most": max(windows, default=math.inf),
                "segment least": min(judgement.statistic for judgement in judged),
                "segment most": max(judgement.statistic for judgement in judged),
                "outliers": max(map(_outliers, judged)),
                "suspect %": 100 * verdicts[Verdict.SUSPECT] / count,
                "fail %": 100 * verdicts[Verdict.FAIL] / count,
            }
        )
    return rows


def provenance(checkpoint: Checkpoint, quant: str, dtype: torch.dtype) -> Provenance:
    """Of a measurement on this machine, now."""
    return Provenance(
        model=checkpoint.name,
        revision=checkpoint.revision,
        quant=quant,
        dtype=_short(dtype),
        software=f"torch {torch.__version__}, Python {platform.python_version()}",
        machine=f"{platform.machine()}, {os.cpu_count()} processors",
        trials=0,
        date=date.today().isoformat(),
    )


def save_thresholds(folder: Path, thresholds: Thresholds) -> Path:
    """For `load_thresholds`; replaces what an earlier calibration left. folder: `swarm_home() / "thresholds"`."""
    made_by = thresholds.provenance
    path = _path(folder, made_by.revision, made_by.quant, made_by.dtype)
    write_whole(path, (json.dumps(asdict(thresholds), indent=1) + "\n").encode(), 0o644)
    return path


def load_thresholds(folder: Path, revision: str, quant: str, dtype: torch.dtype) -> Thresholds:
    """Those of a calibration on this machine, else the built-in ones, whose provenance says so.

    Raises InvalidRequest for a file that makes no sense.
    """
    path = _path(folder, revision, quant, _short(dtype))
    if not path.is_file():
        return BUILT_IN
    try:
        return _parse(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UnusableFile(f"{path} holds no thresholds ({error}); calibrate again, or delete it") from error


def _parse(values: dict[str, Any]) -> Thresholds:
    """From JSON, which may hold anything. Raises ValueError, TypeError, KeyError."""
    numbers = {field.name: values[field.name] for field in fields(Thresholds) if field.name != "provenance"}
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} is {value!r:.40}")
    return Thresholds(**numbers, provenance=Provenance(**values["provenance"]))


def _path(folder: Path, revision: str, quant: str, dtype: str) -> Path:
    safe = re.sub(r"[^A-Za-z0-9-]", "_", revision)[:64]  # it may come from a stranger's record
    return folder / f"{safe}-{quant}-{dtype}.json"


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
