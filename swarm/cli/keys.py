"""`python -m swarm identity keys|export|import`: this machine's keys, and how one moves to another machine."""

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from swarm import shown
from swarm.cli.support.terminal import print_table
from swarm.home.folder import check_home
from swarm.home.identities import client_key_file, key_slots, moved_file
from swarm.home.moving import Moved, export, take_in
from swarm.home.named import named_key
from swarm.program import command
from swarm.wire.identity import Identity


def _keys(args: argparse.Namespace) -> None:
    check_home()
    kept = [
        (name, Identity.load_or_create(file).peer_id, moved_file(file).exists(), str(file))
        for name, file in [("client", client_key_file()), *((str(slot), file) for slot, file in enumerate(key_slots()))]
        if file.exists()
    ]
    if args.json:
        print(json.dumps([dict(zip(("key", "peer_id", "moved", "file"), row, strict=True)) for row in kept]))
        return
    rows = [(name, peer_id, "moved away" if is_moved else "", file) for name, peer_id, is_moved, file in kept]
    print_table(("key", "peer", "", "file"), rows)


def _export(args: argparse.Namespace) -> None:
    slots = key_slots()
    if args.key == "client":
        key = client_key_file()
    else:
        key = slots[int(args.key)] if args.key.isdecimal() and int(args.key) < len(slots) else named_key(Path(args.key))
    moved = export(key, args.file)
    if args.json:
        print(json.dumps(_as_json(moved)))
        return
    print(
        f"{args.file} holds the key of {_described(moved)}. It is not used on this machine any more. On the other: "
        f"{command('identity', 'import', 'FILE')}. Then delete the file: whoever has it can do what the key's owner "
        "can."
    )


def _import(args: argparse.Namespace) -> None:
    moved = take_in(args.file)
    if args.json:
        print(json.dumps(_as_json(moved)))
        return
    print(f"{moved.key} holds the key of {_described(moved)}. Delete {args.file} now, and do not use it elsewhere.")


def _as_json(moved: Moved) -> dict[str, object]:
    return {"peer_id": moved.peer_id, "files": moved.files, "key": str(moved.key)}


def _described(moved: Moved) -> str:
    return f"{moved.peer_id} and {shown.count(moved.files, 'file')} that belong{'s' if moved.files == 1 else ''} to it"


COMMANDS: Mapping[str, Callable[[argparse.Namespace], None]] = {"keys": _keys, "export": _export, "import": _import}
