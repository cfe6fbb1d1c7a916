"""The table of the house and its bars."""

from collections.abc import Iterator
from dataclasses import dataclass

SHARE = 2 / 3  # of what a token's path was, that it may still be
AREA_BARS = {"swarm": 300, "kernels": 300, "tests": 300, "benchmarks": 300}  # lines a file
SHAPE_BARS = {  # in a ranking of the shape: what it is called, and the most
    "functions": ("longest function, lines", 50),
    "constructors": ("constructor parameters, outside frozen config", 8),
    "attributes": ("attributes of a stateful class", 15),
    "folder_files": ("files of a folder", 17),
    "folder_floors": ("floors of a folder", 6),
}
PATHS = {"unsigned": "free, without receipts", "free": "free, with receipts", "paid": "paid"}


@dataclass(frozen=True)
class Row:
    what: str
    before: float | None
    now: float | None
    bar: float | None = None  # the most

    @property
    def holds(self) -> bool:
        return self.bar is None or self.now is None or self.now <= self.bar


def rows(before: dict, now: dict) -> list[Row]:
    return [*path_rows(before["paths"], now["paths"]), *shape_rows(before["shape"], now["shape"])]


def path_rows(before: dict, now: dict) -> Iterator[Row]:
    """A chain that signs nothing is held to the free one of before, which knew no other; so is a paid one to a paid."""
    for kind, name in PATHS.items():
        new, old, held_to = now.get(kind), before.get(kind), before.get("free" if kind == "unsigned" else kind)
        for what, count in (("calls", lambda path: path["calls"]), ("files", lambda path: len(path["files"]))):
            bar = None if kind == "free" or held_to is None else int(SHARE * count(held_to))
            yield Row(f"a token's path, {name}: {what}", old and count(old), new and count(new), bar)
        yield Row(f"a token's path, {name}: calls, with all that is rarer", old and old["mean"], new and new["mean"])
    for what, key in (
        ("import lines of verify and market", "import_lines"),
        ("modules of verify and market imported", "imported"),
        ("functions of verify and market run, ever", "optional"),
    ):
        for kind in ("unsigned", "free"):
            old, new = before.get(kind), now.get(kind)
            bar = 0 if kind == "unsigned" else None
            yield Row(f"{PATHS[kind]}: {what}", old and len(old[key]), new and len(new[key]), bar)


def shape_rows(before: dict, now: dict) -> Iterator[Row]:
    for area, bar in AREA_BARS.items():
        yield Row(
            f"largest file of {area}, lines", before["largest"][area]["count"], now["largest"][area]["count"], bar
        )
    for name, (what, bar) in SHAPE_BARS.items():
        yield Row(what, before[name][0]["count"], now[name][0]["count"], bar)
    yield Row("lines in swarm", before["lines"], now["lines"], before["lines"] - 1)


def offenders(now: dict) -> Iterator[tuple[str, list[str]]]:
    """What is over a bar, by name."""
    long = [one for one in now["shape"]["files"] if one["count"] > AREA_BARS[one["name"].split("/")[0]]]
    found = [("files over their bar", long)]
    for name, (what, bar) in SHAPE_BARS.items():
        found.append((f"{what}: over {bar}", [one for one in now["shape"][name] if one["count"] > bar]))
    for what, over in found:
        if over:
            yield what, [f"{one['count']:4} {one['name']}" for one in over]
    if core := now["paths"].get("unsigned"):
        for what in ("import_lines", "imported", "optional"):
            if core[what]:
                yield f"verify and market in a free chain without receipts: {what}", core[what]
