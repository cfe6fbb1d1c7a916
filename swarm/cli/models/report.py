"""What is said of one model: for people, for scripts, for pages."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from swarm.cli.models.fit import Cache, Fit, Format, fit
from swarm.cli.models.machine import Place, in_words
from swarm.cli.models.shape import Shape
from swarm.cli.support.terminal import print_table
from swarm.shown import count
from swarm.wire.formats.amounts import format_amount, format_credits

if TYPE_CHECKING:
    from swarm.cli.models.earning import Market

_SHOWN_TOKENS = 1000


@dataclass(frozen=True)
class Row:
    """Of one format: what fits into each place."""

    format: Format
    fits: tuple[Fit, ...]


@dataclass(frozen=True)
class Report:
    """Of one model."""

    shape: Shape
    cache: Cache
    places: tuple[Place, ...]
    rows: tuple[Row, ...]
    unsuited: tuple[Format, ...]  # that no server can serve it in
    market: "Market | None"  # None: nobody is paid for it, as far as is known

    @classmethod
    def of(
        cls,
        shape: Shape,
        formats: Iterable[Format],
        places: Sequence[Place],
        cache: Cache,
        market: "Market | None",
    ) -> "Report":
        suited: list[Format] = []
        unsuited: list[Format] = []
        for format in formats:
            (suited if format.suits(shape) else unsuited).append(format)
        rows = [Row(format, tuple(fit(shape, format, place.nbytes, cache) for place in places)) for format in suited]
        return cls(shape, cache, tuple(places), tuple(rows), tuple(unsuited), market)


# --- for people ------------------------------------------------------------------------------------------------------


def print_report(report: Report) -> None:
    shape, cache = report.shape, report.cache
    known = [count(shape.num_blocks, "block")]
    known += [f"hidden size {shape.hidden_size:,}"] if shape.hidden_size else []
    known += [f"context {count(shape.max_context, 'token')}"] if shape.max_context else []
    print(f"{shape.name}: {shape.architecture}, {', '.join(known)}. {_beside(cache)}")
    _print_table(report, SIZE_COLUMNS, lambda fit: blocks_in_words(shape, fit))
    if full := [place.name for place in report.places if not cache.sessions and place.nbytes <= cache.nbytes]:
        alone = f"the cache alone takes {in_words(cache.nbytes)} (--kv-memory)"
        print(f"Nothing is left for blocks of {', '.join(full)}: {alone}.")
    if report.unsuited:
        print(f"Not in {', '.join(map(str, report.unsuited))}: rows of its matrices do not divide into their groups.")
    if cache.context:
        print(f"\nSessions of {count(cache.context, 'token')} that have room at once:")
        _print_table(report, {}, lambda fit: "-" if fit.sessions is None else f"{fit.sessions:,}")
    if cache.sessions:
        print("\nWith this --kv-memory:")
        _print_table(report, {}, lambda fit: f"{fit.cache_nbytes >> 20:,}M" if fit.blocks else "-")
    if market := report.market:
        print(f"\n{_terms(market)}")
        _print_table(report, {}, lambda fit: format_amount(market.hourly(fit.blocks)))


def block_size(shape: Shape, format: Format) -> str:
    return in_words(format.block_nbytes(shape))


def cache_size(shape: Shape, format: Format) -> str:
    """Of what one block keeps of some tokens."""
    return in_words(_SHOWN_TOKENS * format.token_nbytes(shape, 1)) if shape.kv_values else "-"


SIZE_COLUMNS = {"a block": block_size, f"{_SHOWN_TOKENS:,} tokens": cache_size}


def blocks_in_words(shape: Shape, fit: Fit) -> str:
    return f"all {fit.blocks}" if fit.blocks == shape.num_blocks else str(fit.blocks)


def _print_table(
    report: Report, columns: Mapping[str, Callable[[Shape, Format], str]], cell: Callable[[Fit], str]
) -> None:
    """A column for each place. columns: that stand before these."""
    print_table(
        ["format", *columns, *(place.name for place in report.places)],
        [
            [str(row.format), *(column(report.shape, row.format) for column in columns.values()), *map(cell, row.fits)]
            for row in report.rows
        ],
    )


def _beside(cache: Cache) -> str:
    if cache.sessions:
        each = count(cache.context or 0, "token")
        return f"Blocks that fit, with room for {count(cache.sessions, 'session')} of {each}:"
    return f"Blocks that fit beside {in_words(cache.nbytes)} for keys and values:"


def _terms(market: "Market") -> str:
    peers = "one peer asks" if market.paid_peers == 1 else f"{market.paid_peers} peers ask (the median)"
    return (
        f"What they earn at most, in credits an hour. For a token through a block {peers} "
        f"{format_credits(market.price)};\nassumed is that all of the {market.tokens_per_s:,.0f} tokens/s that "
        "this swarm has room for go through them:"
    )


# --- for scripts and pages -------------------------------------------------------------------------------------------


def as_json(report: Report) -> dict[str, object]:
    market = report.market
    return {
        **{name: value for name, value in asdict(report.shape).items() if name != "row_lengths"},
        "swarm": None if market is None else asdict(market),
        "formats": [
            {
                **asdict(row.format),
                "block_nbytes": round(row.format.block_nbytes(report.shape)),
                "token_nbytes": row.format.token_nbytes(report.shape, 1) or None,
                "fits": [_fit_as_json(report, place, fit) for place, fit in zip(report.places, row.fits, strict=True)],
            }
            for row in report.rows
        ],
    }


def _fit_as_json(report: Report, place: Place, fit: Fit) -> dict[str, object]:
    earned = {"nano_credits_per_hour": report.market.hourly(fit.blocks)} if report.market else {}
    return {"device": place.device or None, **asdict(fit), **earned}


def as_markdown(reports: Sequence[Report]) -> str:
    """One table of them all: which blocks fit where."""
    places = [place.name for place in reports[0].places] if reports else []
    rows = [["model", "blocks", "format", *SIZE_COLUMNS, *places], ["---"] * (5 + len(places))]
    for report in reports:
        shape = report.shape
        for row in report.rows:
            sizes = (column(shape, row.format) for column in SIZE_COLUMNS.values())
            rows.append([shape.name, str(shape.num_blocks), str(row.format), *sizes,
                         *(blocks_in_words(shape, fit) for fit in row.fits)])  # fmt: skip
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
