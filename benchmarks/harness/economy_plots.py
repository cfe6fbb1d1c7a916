"""The plots of economy.py."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.marketplace import Period

COLOURS = {"this library": "C0", "bare formula": "0.6"}


def _axes(figure: Figure, rows: int = 1, columns: int = 1) -> list[Axes]:
    made = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in made:
        axes.spines[["top", "right"]].set_visible(False)
    return made


def _titled(figure: Figure, title: str) -> Figure:
    figure.suptitle(title, fontsize=10)
    return figure


def market(
    traces: Mapping[tuple[str, float], Sequence[Period]], reference: int, targets: Sequence[float], period_s: float
) -> Figure:
    """Mean price and one server's, for clients that hardly switch and that switch much."""
    figure = Figure(figsize=(11, 6), layout="constrained")
    made = _axes(figure, 2, 2)
    for column, switching in enumerate(sorted({switching for _, switching in traces})):
        for row, what in enumerate(("mean of all servers", "one server")):
            axes = made[2 * row + column]
            for rule in reversed(COLOURS):
                periods = traces[rule, switching]
                prices = [period.price if row == 0 else period.prices[0] for period in periods]
                minutes = [number * period_s / 60 for number in range(len(prices))]
                axes.plot(minutes, prices, color=COLOURS[rule], label=rule, linewidth=1.2)
            axes.plot(minutes, targets, "k:", linewidth=0.8, label="where 70 % of all servers are in use")
            axes.set_ylim(0, 2.1 * reference)
            axes.set_title(f"{what}; 1 % dearer: {switching:g} % fewer clients come", fontsize=9)
            axes.set_xlabel("minutes")
            axes.set_ylabel("nano-credits per block-token")
    made[0].legend(frameon=False, fontsize=8)
    return _titled(figure, "Prices that follow demand, which goes from 100 % to 160 %, then to 60 % (simulated)")


def auction(curve: Sequence[tuple[float, float]]) -> Figure:
    figure = Figure(figsize=(6.5, 4), layout="constrained")
    (axes,) = _axes(figure)
    axes.plot([share for share, _ in curve], [mean for _, mean in curve], "o-", color="C0", markersize=3)
    axes.axvline(1, color="0.6", linewidth=0.8)
    axes.axhline(0, color="0.8", linewidth=0.8)
    axes.annotate("truth", (1, 1), (1.04, 1.02), fontsize=8)
    axes.set_xlabel("what a peer bids, as a share of its true cost")
    axes.set_ylabel("mean profit, as a share of the honest one")
    return _titled(figure, "What winners would have made with other bids (random orders, up to 8 peers)")


def rewards(
    collusion: Sequence[Mapping], copying: Sequence[Mapping], favouring: Sequence[Mapping]
) -> Figure:  # fmt: skip
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    colluding, copied, favoured = _axes(figure, 1, 3)
    noises = sorted({row["noise %"] for row in collusion})
    for friends, colour in ((1, "C0"), (9, "C1")):
        worst = [max(r["gain"] for r in collusion if (r["friends"], r["noise %"]) == (friends, n)) for n in noises]
        colluding.plot(noises, worst, "o-", color=colour, label=f"their servers: {friends} of 30")
    colluding.axhline(1.05, color="0.5", linestyle=":", label="bar: 1.05")
    colluding.axhline(1, color="0.8", linewidth=0.8)
    colluding.set(xlabel="honest validators' error per server, %", ylabel="income / fair share, best of 6 strategies",
                  ylim=(0.95, 1.15))  # fmt: skip
    colluding.set_title("30 % of the stake collude", fontsize=9)
    for number, noise in enumerate(noises):
        rows = [row for row in copying if row["noise %"] == noise]
        copied.plot([r["change %"] for r in rows], [r["pay"] for r in rows], "o-", color=f"C{number}",
                    label=f"error {noise:g} %")  # fmt: skip
    copied.set(xlabel="how much servers change from epoch to epoch, %", ylabel="pay / an honest validator's",
               ylim=(0, 1.1))  # fmt: skip
    copied.set_title("one copies the last consensus", fontsize=9)
    factors = [row["factor"] for row in favouring]
    favoured.plot(factors, [row["pay"] for row in favouring], "o-", color="C0", label="its pay / an honest validator's")
    favoured.plot(factors, [row["friend"] for row in favouring], "o-", color="C1", label="friend's income / fair share")
    favoured.set(xlabel="factor on its friend's score (error 5 %)", ylabel="relative income", ylim=(0, 1.1))
    favoured.set_title("one favours a friend", fontsize=9)
    for axes in (colluding, copied, favoured):
        axes.legend(frameon=False, fontsize=7)
    return _titled(figure, "Rewards: 20 validators of equal stake, 30 servers (simulated)")


def cheating(rows: Sequence[Mapping], stake: int, saved: float) -> Figure:
    """A bar for each cheat that audits see: expected profit when cheating until caught; a dot for its best burst."""
    certain = [row for row in rows if row["fail %"] == 100]
    kinds = f"{len(certain)} others, which every audit finds: fewer bits, skipped blocks, ..."
    rows = sorted((row for row in rows if row["fail %"] < 100), key=lambda row: row["profit, R"] or 0.0)
    rows = [certain[0], *rows]
    names = [kinds, *(f"{row['cheat']} (announced: {row['announced']})" for row in rows[1:])]
    figure = Figure(figsize=(9, 0.24 * len(rows) + 1.6), layout="constrained")
    (axes,) = _axes(figure)
    for place, row in enumerate(rows):
        if row["profit, R"] is None:
            unseen = "not seen by such audits: never caught"
            axes.text(-1, place, unseen, ha="right", va="center", fontsize=7, color="C3")
        else:
            axes.barh(place, row["profit, R"], color="C0", label="cheating until caught" if place == 0 else None)
    bursts = [row["best burst, R"] for row in rows]
    axes.plot(bursts, range(len(rows)), "o", color="C1", markersize=4,
              label="the burst of 1 to 20 segments that pays best, before the first is judged")  # fmt: skip
    axes.set_yticks(range(len(rows)), names, fontsize=7)
    axes.axvline(0, color="0.3", linewidth=0.8)
    axes.set(xlim=(-stake, 30), ylim=(-1, len(rows)), xlabel="expected profit in R, which is what one segment earns")
    axes.legend(frameon=False, fontsize=7, loc="lower left", bbox_to_anchor=(0, 1))
    stakes = f"{stake} R at stake, {100 * saved:.0f} % of R saved by each segment"
    return _titled(figure, f"Cheating at 5 % audits, by auditors with other kernels; {stakes}")


def batch(curve: Sequence[tuple[float, float]]) -> Figure:
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    (axes,) = _axes(figure)
    axes.plot([100 * u for u, _ in curve], [100 * share for _, share in curve], "o-", color="C0", markersize=3)
    axes.set(xlabel="utilisation of the server, %", ylabel="batch price, % of on demand", xlim=(0, 100), ylim=(0, 105))
    return _titled(figure, "What batch sessions pay")
