"""The report of a run: what was measured, on what, how, and what may be said of it."""

from collections.abc import Mapping, Sequence

from harness.report import Report
from swarm.measure import peers
from swarm.measure.figures import Case
from swarm.measure.machine import described
from swarm.measure.page import bullets, code, facts, page, table
from swarm.measure.tables import EXPLAINED, remarks

FAIRNESS = [
    "One compute thread a process, so that a chain of two peers and one process of another engine use one core at a "
    "time for one session alike. With many sessions, each peer of a chain keeps a core of its own busy: compare chains "
    "of one peer with one process there.",
    "The demo model's file has 4-bit weights. int4 and Q4_0 keep about as much of them, int8 and Q8_0 spend more bits "
    "on the same; float32 and bfloat16 rows compute with them unpacked, so they read 4 to 8 times as much memory.",
    "transformers float32 is what the swarm's tokens are held to, and what ratios are against; bfloat16 is the faster "
    "of its two where the processor has instructions for it. It batches sessions of equal length and has no quantised "
    "kernels for processors.",
    "Swarm rows have gRPC, TLS and digests between the processes in them; the other engines have no network.",
]


def write(
    report: Report,
    title: str,
    cases: Sequence[Case],
    cells: Sequence[Mapping[str, object]],
    *,
    plot: str,
    route: Sequence[dict],
    left_out: Sequence[str],
    is_ours: bool,
) -> str:
    """plot: the picture's file name. route: of a swarm that was there. left_out: with reasons. is_ours: the swarm was
    started here."""
    known = {key: report.run[key] for key in ("date", "commit")} | {"load before": report.run["load"]}
    return page(
        title,
        [
            ("", facts(known | described(report.machine))),
            ("To repeat it", code(str(report.run["command"]))),
            ("Figures", table(cells)),
            ("", bullets(remarks(cases))),
            ("", f"![tokens per second]({plot})"),
            ("Peers, and what a token of one session takes there", table([peers.as_cells(row) for row in route])),
            ("Left out", bullets(left_out)),
            ("How to read it", EXPLAINED),
            ("", bullets(FAIRNESS if is_ours else FAIRNESS[1:])),
        ],
    )
