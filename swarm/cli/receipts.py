"""`python -m swarm receipts`: what peers signed for this user's sessions; kept, handed on, and checked by anybody."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TypedDict

from swarm import shown
from swarm.cli.support import exits, parsing
from swarm.cli.support.arguments import add_json
from swarm.cli.support.kept import find_kept
from swarm.cli.support.parser import Parser
from swarm.cli.support.terminal import print_table, run
from swarm.errors import InvalidRequest, UnusableFile
from swarm.home import receipts_file
from swarm.verify.receipts.export import lines, load_receipts, save_receipts
from swarm.verify.receipts.report import Opening, Report, check
from swarm.verify.receipts.store import ReceiptStore, StoredSession
from swarm.wire.peer_names import short_id

_SHOWN = 20  # sessions of a list
_TOLD = 10  # things that are wrong


def main(arguments: list[str]) -> int:
    return run(make_parser(), arguments)


def make_parser() -> Parser:
    parser = Parser(
        "receipts",
        description="Peers sign for all that they compute. This lists the receipts kept on this machine, writes those "
        "of a session to a file, and checks such a file: by itself, without a swarm, a model, or trust in its sender.",
    )
    verbs = parser.add_verbs()
    listing = verbs.add_parser("list", help="sessions of which receipts are kept, the newest first")
    listing.add_argument(
        "--limit", type=parsing.count, default=_SHOWN, metavar="N", help=f"show so many (default: {_SHOWN})"
    )
    listing.add_argument(
        "--server",
        nargs="?",
        const="",
        metavar="PEER_ID",
        help="not of this user's clients, but of "
        "all servers on this machine, or of this one; the end of its id will do",
    )
    add_json(listing, "print one JSON object per session")
    listing.set_defaults(command=_list)
    writing = verbs.add_parser("export", help="write a session's receipts to a file, one JSON object a line")
    writing.add_argument("session", nargs="?", metavar="SESSION", help="first digits of its id (default: the last one)")
    writing.add_argument("-o", "--out", required=True, metavar="FILE", help="- is standard output")
    writing.add_argument("--server", metavar="PEER_ID", help="out of what this server on this machine has signed")
    add_json(writing)
    checking = verbs.add_parser(
        "verify", help="check a file of receipts; the exit status is 4 if some of it does not hold"
    )
    checking.add_argument("file", metavar="FILE")
    writing.set_defaults(command=_export)
    add_json(checking)
    checking.set_defaults(command=_verify)
    return parser


# --- what is kept here ---------------------------------------------------------------------------------------------


def _stores(server: str | None) -> list[Path]:
    """This user's file as a client, or those of the servers whose ids end with `server`. Raises InvalidRequest if there
    is none."""
    own = receipts_file()
    servers = {file.stem: file for file in sorted(own.parent.glob("*.db")) if file != own}
    found = ([own] if own.exists() else []) if server is None else list(servers.values())
    if not found:
        whose = "this user's clients" if server is None else "a server"
        raise UnusableFile(f"no receipts of {whose} in {own.parent}")
    return [servers[find_kept(server, servers, "that keeps its receipts here")]] if server else found


def _list(args: argparse.Namespace) -> None:
    rows = [row for path in _stores(args.server) for row in _sessions(path, args.limit)]
    rows.sort(key=lambda row: row["session"], reverse=True)  # ids begin with the time
    if args.json:
        for row in rows[: args.limit]:
            print(json.dumps(row))
        return
    print_table(("session", "begun", "receipts", "peers", "server"), map(_in_words, rows[: args.limit]))


class _Peer(TypedDict):
    peer_id: str
    blocks: tuple[int, int]


class _Row(TypedDict):
    """One session, as JSON has it."""

    session: str
    begun_s: float
    receipts: int
    peers: list[_Peer]
    server: str


def _in_words(row: _Row) -> tuple[str, ...]:
    begun = datetime.fromtimestamp(row["begun_s"]).isoformat(" ", "seconds")
    hops = "  ".join(f"{hop['blocks'][0]}:{hop['blocks'][1]} {short_id(hop['peer_id'])}" for hop in row["peers"])
    return row["session"], begun, str(row["receipts"]), hops, short_id(row["server"])


def _sessions(path: Path, limit: int) -> Iterator[_Row]:
    with closing(ReceiptStore(path, reads_only=True)) as store:
        for kept in store.sessions()[:limit]:
            hops = dict.fromkeys((signed.peer_id, signed.blocks) for signed in store.openings(kept.session))
            yield {
                "session": kept.session.hex(),
                "begun_s": kept.begun_s,
                "receipts": kept.receipts,
                "peers": [{"peer_id": peer_id, "blocks": blocks} for peer_id, blocks in hops],
                "server": "" if path == receipts_file() else path.stem,
            }


def _export(args: argparse.Namespace) -> None:
    paths = _stores(args.server)
    if len(paths) > 1:
        raise InvalidRequest(f"{len(paths)} servers have ids that end with {args.server!r}; give more of it")
    with closing(ReceiptStore(paths[0], reads_only=True)) as store:
        session = store.find(args.session) if args.session else _last(store.sessions(), paths[0])
        receipts = list(store.receipts(session))
    if args.out == "-":
        print(*lines(receipts), sep="\n")
        return
    save_receipts(receipts, args.out)
    if args.json:
        print(json.dumps({"session": session.hex(), "receipts": len(receipts), "file": args.out}))
        return
    print(f"{shown.count(len(receipts), 'receipt')} of session {session.hex()} written to {args.out}", file=sys.stderr)


def _last(sessions: Sequence[StoredSession], path: Path) -> bytes:
    if not sessions:
        raise UnusableFile(f"no receipts are kept in {path}")
    return sessions[0].session


# --- what somebody hands on ----------------------------------------------------------------------------------------


def _verify(args: argparse.Namespace) -> int:
    report = check(load_receipts(args.file))
    if not report.receipts:
        raise UnusableFile(f"{args.file} holds no receipts: there is nothing to check")
    if args.json:
        print(json.dumps(_as_json(report)))
    else:
        _print(report.openings)
        for problem in _problems(report)[:_TOLD]:
            print(problem)
        print(verdict(report))
    return exits.DONE if report.holds else exits.REFUTED


def _print(openings: Sequence[Opening]) -> None:
    rows = [
        (one.peer_id, f"{one.blocks[0]}:{one.blocks[1]}", f"{one.positions[0]}:{one.positions[1]}", str(one.receipts),
         one.weights[:16], one.format, one.numerics_id or "none promised")
        for one in openings
    ]  # fmt: skip
    print_table(("peer", "blocks", "positions", "receipts", "weights", "format", "numerics"), rows)


def _problems(report: Report) -> list[str]:
    return [*map(str, report.faults), *report.gaps]


def verdict(report: Report) -> str:
    """In one line."""
    peers = len({one.peer_id for one in report.openings})
    what = f"{shown.count(report.receipts, 'receipt')} of {shown.count(peers, 'peer')}"
    if not report.holds:
        return f"It does not hold: {what}, and {shown.count(len(_problems(report)), 'thing')} wrong."
    unseen = f" {_unseen(report.unseen)}" if report.unseen else ""
    return f"All of it holds: {what}, {shown.count(report.links, 'link')} between hops.{unseen}"


def _unseen(number: int) -> str:
    named = "receipt names" if number == 1 else "receipts name"
    return f"{number} {named} a predecessor's that is not in this file."


def _as_json(report: Report) -> dict[str, object]:
    faults = [
        {"peer_id": fault.peer_id, "kind": fault.kind.name.lower(), "detail": fault.detail,
         "evidence": [signed.encode().hex() for signed in fault.evidence]}
        for fault in report.faults
    ]  # fmt: skip
    return {**asdict(report), "faults": faults, "holds": report.holds, "verdict": verdict(report)}
