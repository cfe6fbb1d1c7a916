"""Plots of tokens per second; what is in doubt is hollow."""

import itertools
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from swarm.measure.figures import Case
from swarm.measure.tables import number


def bars(cases: Sequence[Case], title: str) -> Figure:
    """One session on each engine, with quartiles."""
    figure = Figure(figsize=(9, 1.6 + 0.42 * len(cases)), layout="constrained")
    axes = figure.subplots()
    rates = [(case, case.decode or case.total) for case in cases]
    for index, (case, rate) in enumerate(sorted(rates, key=lambda one: one[1].median)):
        lower, upper = rate.quartiles
        colour = "C0" if case.engine.startswith("swarm") else "0.5"
        face = "white" if case.doubts else colour
        axes.barh(case.engine, rate.median, color=face, edgecolor=colour, hatch="//" if case.doubts else None)
        axes.plot([lower, upper], [index, index], color="black", linewidth=1.5)
        axes.text(max(upper, rate.median), index, f"  {number(rate.median)}", va="center", fontsize=8)
    axes.set_xlabel("tokens per second, one session; lines: quartiles" + _doubtful(cases))
    axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=9)
    return figure


def lines(cases: Sequence[Case], title: str) -> Figure:
    """All sessions together over how many there are, a panel for each context."""
    contexts = sorted({case.context for case in cases})
    figure = Figure(figsize=(1.5 + 4.5 * len(contexts), 5), layout="constrained")
    panels = figure.subplots(1, len(contexts), squeeze=False)[0]
    names = list(dict.fromkeys(case.engine for case in cases))
    greys, hues = itertools.cycle(("0.2", "0.45", "0.65", "0.8")), itertools.cycle(f"C{index}" for index in range(10))
    colours = {name: next(hues if name.startswith("swarm") else greys) for name in names}
    for panel, context in zip(panels, contexts, strict=True):
        for name in names:
            _line(panel, [case for case in cases if (case.engine, case.context) == (name, context)], colours[name])
        _label(panel, context, sorted({case.sessions for case in cases}))
    panels[0].set_ylabel("tokens per second, all sessions" + _doubtful(cases))
    handles = [panels[0].plot([], [], color=colours[name], marker="o", label=name)[0] for name in names]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=9)
    return figure


def _line(panel: Axes, cases: Sequence[Case], colour: str) -> None:
    shown = [(case, case.decode) for case in cases if case.decode]
    if not shown:
        return
    panel.plot([case.sessions for case, _ in shown], [rate.median for _, rate in shown], color=colour)
    for case, rate in shown:
        face = "white" if case.doubts else colour
        panel.plot([case.sessions], [rate.median], marker="o", color=colour, markerfacecolor=face)
        panel.plot([case.sessions] * 2, rate.quartiles, color=colour, linewidth=1, zorder=1)


def _label(panel: Axes, context: int, sessions: Sequence[int]) -> None:
    panel.set_title(f"context {context}", fontsize=9)
    panel.set_xscale("log", base=2)
    panel.set_xticks(sessions, [str(one) for one in sessions])
    panel.minorticks_off()
    panel.set_xlabel("sessions at once")
    panel.set_ylim(bottom=0)
    panel.grid(alpha=0.3)


def _doubtful(cases: Sequence[Case]) -> str:
    return "\n(hollow: in doubt, not to be compared)" if any(case.doubts for case in cases) else ""
