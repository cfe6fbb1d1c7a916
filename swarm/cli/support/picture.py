"""The picture of a swarm as text for a terminal: a headline, a strip of all blocks, a table of peers, and what is
missing. What peers say of themselves is untrusted, and is shown without anything that a terminal would obey."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, OverflowMethod, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from swarm.errors import in_words
from swarm.peers.status.overview import Overview, PeerView, State
from swarm.wire.formats.amounts import format_amount, format_prices
from swarm.wire.peer_names import short_id

_SHADES = "·░▒▓█"  # by number of replicas; the last for as many and more
_ASCII_SHADES = ".123+"
_REPLICA_STYLES = ("bold red", "yellow", "green", "green", "green")
_STATE_STYLES = {
    State.ONLINE: "",
    State.MOVING: "cyan",
    State.LOADING: "cyan",
    State.PAUSED: "yellow",
    State.LEAVING: "yellow",
    State.OTHER_REVISION: "magenta",
    State.UNREACHABLE: "red",
}
_GROUP = 10  # blocks between two gaps of the strip
_COLUMN_GAP = 2

_UNKNOWN = "–"
_MODELS_NAMED = 8


@dataclass(frozen=True)
class Picture:
    """An overview, drawn as wide as the console. Print it with crop=False, lest commands that are wider lose their
    ends."""

    overview: Overview
    serve_command: Callable[[tuple[int, int] | None], str]  # with which a peer joins, serving these blocks
    other_models: Sequence[str] = ()  # that the same swarm serves
    live: bool = False  # no higher than the console either, and no line wider

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        view, width = self.overview, options.max_width
        above = [*_headline(view, width), Text(), *_strip(view, options), Text()] if view.peers else []
        below = [*_missing(view, self.serve_command, fold=self.live), *_others(self.other_models)]
        rows = len(view.peers)
        if self.live:
            taken = sum(len(line.wrap(console, width)) for line in [*above, *below])
            rows = max(options.size.height - taken - 3, 3)  # the table's header, "... more peers", the cursor's line
        yield from above
        if view.peers:
            yield _table(view.peers[:rows], width)
        if (hidden := len(view.peers) - rows) > 0:
            yield Text(f"... and {hidden} more {_plural(hidden, 'peer')}: --once shows all", style="dim")
        yield from below


# --- headline --------------------------------------------------------------------------------------------------------


def _headline(view: Overview, width: int) -> list[Text]:
    """The facts, as many to a line as fit."""
    lines = [Text()]
    for fact in _facts(view):
        if lines[-1] and len(lines[-1]) + _COLUMN_GAP + len(fact) > width:
            lines.append(Text())
        lines[-1].append(" " * _COLUMN_GAP if lines[-1] else "").append_text(fact)
    return lines


def _facts(view: Overview) -> list[Text]:
    covered = sum(count > 0 for count in view.replicas)
    facts = [
        Text(_printable(view.model), style="bold"),
        Text(f"{len(view.peers)} {_plural(len(view.peers), 'peer')}"),
        Text(f"{covered} of {view.num_blocks} blocks served", style="green" if view.complete else "red"),
        Text(f"{view.sessions} {_plural(view.sessions, 'session')}"),
    ]
    if view.tokens_per_s is not None:
        facts.append(Text(f"{_figure(view.tokens_per_s)} tokens/s"))
    if view.expected_tokens_per_s:
        facts.append(Text(f"room for {_figure(view.expected_tokens_per_s)} tokens/s"))
    software = {peer.software for peer in view.peers if peer.software}
    facts += [Text(_printable(", ".join(sorted(software))))] if software else []
    if rejected := max((peer.records_rejected or 0 for peer in view.peers), default=0):
        facts.append(Text(f"{rejected} bad {_plural(rejected, 'record')} refused", style="yellow"))
    return facts


# --- coverage --------------------------------------------------------------------------------------------------------


def _strip(view: Overview, options: ConsoleOptions) -> list[Text]:
    """A character per block, ten to a group, as many groups to a line as fit; and what the characters mean."""
    shades = _ASCII_SHADES if options.ascii_only else _SHADES
    margin = len(str(view.num_blocks)) + 1
    groups = max((options.max_width - margin) // (_GROUP + 1), 1)
    lines = []
    for first in range(0, view.num_blocks, groups * _GROUP):
        line = Text(f"{first:>{margin - 1}} ", style="dim")
        for block in range(first, min(first + groups * _GROUP, view.num_blocks)):
            level = min(view.replicas[block], len(shades) - 1)
            space = " " if block % _GROUP == 0 and block > first else ""
            line.append(space + shades[level], style=f"not dim {_REPLICA_STYLES[level]}")
        lines.append(line)
    return [*lines, _legend(view, shades, margin)]


def _legend(view: Overview, shades: str, margin: int) -> Text:
    """Of the characters that occur."""
    legend = Text(" " * margin)
    last = len(shades) - 1
    for level in sorted({min(count, last) for count in view.replicas}):
        meaning = "nobody" if level == 0 else f"{level}{' or more' if level == last else ''} {_plural(level, 'peer')}"
        legend.append(shades[level], style=_REPLICA_STYLES[level])
        legend.append(f" {meaning}   ", style="dim")
    legend.rstrip()
    return legend


# --- peers -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Column:
    title: str
    cell: Callable[[PeerView], str]  # "": nothing to say
    rank: int  # where not all columns fit, those with the highest go first
    left: bool = False


def _table(peers: Sequence[PeerView], width: int) -> Table:
    """Of the columns that have something to say of any peer, those that fit."""
    table = Table(box=None, pad_edge=False, padding=(0, _COLUMN_GAP, 0, 0), header_style="bold")
    columns = _choose(peers, width)
    for column in columns:
        table.add_column(column.title, justify="left" if column.left else "right", no_wrap=True, overflow="ellipsis")
    for peer in peers:
        table.add_row(*_cells(columns, peer), style=_STATE_STYLES[peer.state])
    return table


def _cells(columns: Sequence[_Column], peer: PeerView) -> list[RenderableType]:
    return [Text(column.cell(peer) or ("" if column.left else _UNKNOWN)) for column in columns]


def _choose(peers: Sequence[PeerView], width: int) -> list[_Column]:
    columns = [column for column in _COLUMNS if any(column.cell(peer) for peer in peers)]
    widths = {
        column.title: max(cell_len(text) for text in (column.title, *map(column.cell, peers))) for column in columns
    }
    while len(columns) > 1 and sum(widths[column.title] + _COLUMN_GAP for column in columns) - _COLUMN_GAP > width:
        columns.remove(max(columns, key=lambda column: column.rank))
    return columns


def _blocks(peer: PeerView) -> str:
    return f"{peer.blocks[0]}:{peer.blocks[1]}"


def _weights(peer: PeerView) -> str:
    """The format of the weights, and the type of activations where that is another."""
    if peer.quant == "none":
        return _printable(peer.dtype)
    return _printable(f"{peer.quant} {peer.dtype.replace('float', 'f')}")


def _sessions(peer: PeerView) -> str:
    return "" if peer.sessions is None else f"{peer.decoding} of {peer.sessions}"


def _pages(peer: PeerView) -> str:
    return "" if peer.free_pages is None else f"{peer.free_pages}/{peer.total_pages}"


def _next_hop(peer: PeerView) -> str:
    if peer.next_hop is None:
        return ""
    return f"{short_id(peer.next_hop)} {_milliseconds(peer.links[peer.next_hop].round_trip_s)}"


def _state(peer: PeerView) -> str:
    if peer.state is State.OTHER_REVISION:
        return f"revision {_printable(peer.revision, limit=8)}"
    if peer.state is State.PAUSED:
        return f"{peer.state}: {_printable(peer.paused, limit=80)}"
    if peer.state is State.LOADING:
        return f"{peer.state}, {peer.loaded} of {peer.blocks[1] - peer.blocks[0]}"
    return ("" if peer.signs else "signs nothing") if peer.state is State.ONLINE else str(peer.state)


def _price(peer: PeerView) -> str:
    """Of a token through a block, in nano-credits: of a new one, and of one of a prompt."""
    return format_prices(peer.decode_price, peer.prefill_price) if peer.decode_price or peer.prefill_price else ""


def _auditors(peer: PeerView) -> str:
    return str(peer.auditors) if peer.state.usable else ""


_COLUMNS = (
    _Column("peer", lambda peer: short_id(peer.peer_id), 0, left=True),
    _Column("blocks", _blocks, 0, left=True),
    _Column("weights", _weights, 4, left=True),
    _Column("ping", lambda peer: _milliseconds(peer.round_trip_s), 3),
    _Column("decoding", _sessions, 2),
    _Column("queued", lambda peer: _count(peer.queued_tokens), 5),
    _Column("price", _price, 4),
    _Column("stake (credits)", lambda peer: "" if peer.staked is None else format_amount(peer.staked), 4),
    _Column("auditors", _auditors, 11),
    _Column("free pages", _pages, 6),
    _Column("tokens/s", lambda peer: _figure(peer.tokens_per_s), 1),
    _Column("ms/block", lambda peer: _milliseconds(peer.decode_s).removesuffix(" ms"), 7),
    _Column("next hop", _next_hop, 9, left=True),
    _Column("up", lambda peer: _duration(peer.uptime_s), 8),
    _Column("address", lambda peer: _printable(peer.address), 10, left=True),
    _Column("state", _state, 0, left=True),
)


# --- what is missing -------------------------------------------------------------------------------------------------


def _missing(view: Overview, serve_command: Callable[[tuple[int, int] | None], str], fold: bool) -> list[Text]:
    """fold: long commands; else each is one line, however long, so that it can be copied."""
    if not view.directory_answers:
        said = "what it said before is shown" if view.peers else "try again, or through another peer"
        return [Text(), Text(f"The directory does not answer: {said}.", style="bold red")]
    gaps: Sequence[tuple[int, int] | None] = view.gaps
    lines = []
    if not view.peers:
        headline, gaps = f"Nobody in this swarm serves {_printable(view.model)}. Be the first:", [None]
    else:
        who = "No peer" if all(peer.state.usable for peer in view.peers) else "No usable peer"
        headline = f"{who} serves blocks {in_words(view.gaps)} of {view.num_blocks}. To fill in:"
    if gaps:
        lines = [Text(), Text(headline, style="bold red")]
        overflow: OverflowMethod = "fold" if fold else "ignore"
        lines += [Text(f"  {serve_command(gap)}", no_wrap=not fold, overflow=overflow) for gap in gaps]
    if view.loading:
        lines += [Text(), Text(f"Blocks {in_words(view.loading)} are being loaded.", style="cyan")]
    return lines


def _others(models: Sequence[str]) -> list[Text]:
    """Other models of the same swarm."""
    if not models:
        return []
    named = ", ".join(map(_printable, models[:_MODELS_NAMED]))
    more = f" and {len(models) - _MODELS_NAMED} more" if len(models) > _MODELS_NAMED else ""
    return [Text(), Text(f"Also served here: {named}{more}. To see one: --model NAME", style="dim")]


# --- words and figures -----------------------------------------------------------------------------------------------


def _printable(text: str, limit: int = 40) -> str:
    """Without control characters, escape sequences and marks that reverse the writing."""
    return "".join(character if character.isprintable() else "?" for character in text[:limit])


def _plural(count: int, word: str) -> str:
    return word if count == 1 else f"{word}s"


def _count(number: int | None) -> str:
    return "" if number is None else str(number)


def _figure(number: float | None) -> str:
    """To about two digits."""
    return "" if number is None else f"{number:.1f}" if 0 < number < 10 else f"{number:.0f}"


def _milliseconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds * 1000:.2f} ms" if seconds < 0.01 else f"{seconds * 1000:.0f} ms"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86400)
    if days:
        return f"{days}d {hours % 24}h"
    return f"{hours}h {minutes % 60:02}m" if hours else f"{minutes}m {int(seconds % 60):02}s"
