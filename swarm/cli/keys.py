"""`python -m swarm identity keys|export|import`: this machine's keys, and how one moves to another machine."""

import argparse
from collections.abc import Callable
from pathlib import Path

from swarm.cli.support.terminal import print_table, run
from swarm.home.identities import client_key_file, key_slots, moved_file
from swarm.home.moving import Moved, export, take_in
from swarm.wire.identity import Identity

VERBS = ("keys", "export", "import")


def main(arguments: list[str]) -> int:
    """arguments: the first is one of VERBS."""
    parser = argparse.ArgumentParser(prog="python -m swarm identity")
    verbs = parser.add_subparsers(required=True)

    def add(name: str, command: Callable[[argparse.Namespace], None], purpose: str) -> argparse.ArgumentParser:
        verb = verbs.add_parser(name, help=purpose, description=purpose)
        verb.set_defaults(command=command)
        return verb

    add("keys", _keys, "List this machine's keys.")
    moves = add(
        "export",
        _export,
        "Move a key to another machine, with its receipts, vouchers and all that protects its owner: into one file, "
        "which whoever has it can use like the key. Here it is not used any more.",
    )
    moves.add_argument("key", help="\"client\", the number of a server's key (see `identity keys`), or a key's file")
    moves.add_argument("file", type=Path, help="to write")
    add("import", _import, "Take in a key that was exported on another machine.").add_argument("file", type=Path)
    return run(parser, arguments)


def _keys(args: argparse.Namespace) -> None:
    rows = [
        (name, Identity.load_or_create(file).peer_id, "moved away" if moved_file(file).exists() else "", str(file))
        for name, file in [("client", client_key_file()), *((str(slot), file) for slot, file in enumerate(key_slots()))]
        if file.exists()
    ]
    print_table(("key", "peer", "", "file"), rows)


def _export(args: argparse.Namespace) -> None:
    slots = key_slots()
    if args.key == "client":
        key = client_key_file()
    else:
        key = slots[int(args.key)] if args.key.isdecimal() and int(args.key) < len(slots) else Path(args.key)
    moved = export(key, args.file)
    print(
        f"{args.file} holds the key of {_described(moved)}. It is not used on this machine any more. On the other: "
        "python -m swarm identity import FILE. Then delete the file: whoever has it can do what the key's owner can."
    )


def _import(args: argparse.Namespace) -> None:
    moved = take_in(args.file)
    print(f"{moved.key} holds the key of {_described(moved)}. Delete {args.file} now, and do not use it elsewhere.")


def _described(moved: Moved) -> str:
    return f"{moved.peer_id} and {moved.files} files that belong to it"
