"""What verification.py draws; and what it has of one variant."""

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from swarm.verify.audit.judging.judgement import Judgement
from swarm.verify.audit.judging.thresholds import BUILT_IN
from swarm.verify.receipts.sketch import K

UNSEEN = ("int8 cache", "fp8 in one block of ten")  # no bar: reported as they are
LEAST_SHOWN = 0.1
COLOURS = ("tab:blue", "tab:orange", "tab:purple")


class Outcome:
    """One variant at one hop and on one wire: for each way to look at it, the judgements of its segments."""

    def __init__(self, variant: str, is_honest: bool, blocks: tuple[int, int]):
        self.variant, self.is_honest, self.blocks = variant, is_honest, blocks
        self.judged: dict[str, list[Judgement]] = {}
        self.differing: list[int] = []  # rows of each segment that are not those of the fused kernels


def plot(found: list[Outcome], rows: list[dict[str, object]]) -> Figure:
    figure = Figure(figsize=(11, 0.18 * len(rows) + 1.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    plot_ranges(left, rows)
    plot_roc(right, found)
    return figure


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
