"""`python -m swarm stop`: end servers that run in the background."""

import argparse
import json
import time
from collections.abc import Sequence
from contextlib import ExitStack

from swarm import shown
from swarm.cli.support import parsing
from swarm.cli.support.arguments import add_json
from swarm.cli.support.kept import find_kept
from swarm.cli.support.parser import Parser
from swarm.cli.support.terminal import run
from swarm.errors import InvalidRequest, SwarmError
from swarm.home import swarm_home
from swarm.home.servers import RunningServer, running_servers
from swarm.wire.peer_names import short_id

WAIT_S = 60.0  # longer than a server drains unless it is told otherwise


def make_parser() -> Parser:
    parser = Parser(
        "stop",
        description="End servers of this user that run on this machine under the same SWARM_HOME, as Ctrl-C does: open "
        "sessions may finish or move. Told a second time, they end at once.",
    )
    add = parser.add_argument
    add("peers", nargs="*", metavar="PEER", help="peer id, or its end (default: the one server that runs here)")
    add("--all", action="store_true", help="all servers that run here")
    wait = "until they have ended (default: %(default).0f)"
    add("--wait", type=parsing.seconds, default=WAIT_S, metavar="S", help=wait)
    add_json(parser)
    return parser


def main(arguments: list[str]) -> int:
    return run(make_parser(), arguments, _stop)


def _stop(args: argparse.Namespace) -> None:
    deadline_s = time.monotonic() + args.wait
    with ExitStack() as stack:
        servers = running_servers()
        for server in servers:
            stack.callback(server.close)
        chosen = choose(servers, args.peers, args.all)
        for server in chosen:
            if not args.json:
                print(f"told peer {server.peer_id} (process {server.pid}) to leave", flush=True)
            server.end()
        late = [one for one in chosen if not one.is_gone(max(deadline_s - time.monotonic(), 0.0))]
    if late:
        names = ", ".join(_name(server) for server in late)
        raise SwarmError(f"{names} still lets sessions finish after {args.wait:g} s; say it again to end it at once")
    if args.json:
        print(json.dumps({"stopped": [{"peer_id": server.peer_id, "pid": server.pid} for server in chosen]}))
    else:
        print(f"{shown.count(len(chosen), 'server')} left the swarm")


def choose(servers: Sequence[RunningServer], peers: Sequence[str], all_of_them: bool) -> list[RunningServer]:
    """Raises SwarmError where it is not clear which are meant."""
    if not servers:
        raise SwarmError(f"no server of this user runs on this machine under {swarm_home()}")
    if all_of_them:
        if peers:
            raise InvalidRequest("name peers, or say --all, not both")
        return list(servers)
    if peers:
        return list({server.pid: server for server in (_named(servers, peer) for peer in peers)}.values())
    if len(servers) > 1:
        raise InvalidRequest(f"{len(servers)} servers run here; name one, or say --all: {_list(servers)}")
    return list(servers)


def _named(servers: Sequence[RunningServer], peer: str) -> RunningServer:
    by_id = {server.peer_id: server for server in servers}
    return by_id[find_kept(peer, by_id, "that is a server here")]


def _list(servers: Sequence[RunningServer]) -> str:
    return ", ".join(map(_name, servers))


def _name(server: RunningServer) -> str:
    return f"{short_id(server.peer_id)} (process {server.pid})"
