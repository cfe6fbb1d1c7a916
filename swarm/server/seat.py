"""A server's seat: its key and the ports where it listens, which it has for itself, and finds again when it is started
anew."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from swarm.commands import EVERYWHERE
from swarm.errors import InvalidRequest, PeerUnreachable, SwarmError
from swarm.home import acquaintances_file, claimed_identity, require_home
from swarm.home.places import Place
from swarm.peers.dht.acquaintances import Acquaintances
from swarm.peers.twins import others_than, refuse_to_join
from swarm.program import option
from swarm.server.config import ServerConfig
from swarm.wire import messages_pb2 as pb
from swarm.wire.hosts import check_announceable, host_in, is_here, is_loopback, join_address, listening_address
from swarm.wire.identity import Identity
from swarm.wire.tls import Certificate
from swarm.wire.transport import Peer, announced_host, max_message_bytes

logger = logging.getLogger(__name__)

REACH_TIMEOUT_S = 3.0
LOOK_EVERY_S = 1.0


@dataclass(frozen=True)
class Seat:
    """path: of the key. members: through which it joins the swarm, itself not among them."""

    identity: Identity
    path: Path
    place: Place
    members: list[str]


async def check(config: ServerConfig) -> ServerConfig:
    """The same with an IP address to listen at, as soon as others can be told one of this machine. Raises SwarmError
    where a server cannot begin: without a place for what it must not forget, or at addresses that are nobody's."""
    config = await asyncio.to_thread(_checked, config)
    await _await_address(config)
    return config


def _checked(config: ServerConfig) -> ServerConfig:
    """May ask the network."""
    require_home()
    if config.announce:
        check_announceable(config.announce)
    return replace(config, host=listening_address(config.host))


async def _await_address(config: ServerConfig) -> None:
    """This machine may have started a moment ago, and have no network yet."""
    said = False
    while not config.announce:
        try:
            own_host(config)
            return
        except SwarmError as error:
            if not said:
                logger.warning("%s; waiting until there is one", error)
            said = True
        await asyncio.sleep(LOOK_EVERY_S)


def own_host(config: ServerConfig) -> str:
    """Where others find this server. Raises SwarmError while the machine has no address."""
    return config.announce or announced_host(config.host, map(host_in, config.peers))


def address_now(config: ServerConfig, last: str) -> str:
    """Where others find a machine that may have been carried elsewhere, or got another address from its router. It
    stays known by the last one while it has none, and as long as it has that one: an address that came up beside it,
    such as a private network's, may be of no use to others."""
    if not config.announce and not is_here(last):
        with suppress(SwarmError):
            return own_host(config)
    return last


async def take(config: ServerConfig, members: Sequence[str], stack: AsyncExitStack) -> Seat:
    """Until `stack` is closed. Raises SwarmError if another process has the key or a port that this one cannot do
    without."""
    identity, path = stack.enter_context(claimed_identity(config.identity))
    peer_id = identity.peer_id
    memory = acquaintances_file(peer_id, config.secret)
    # Told of nobody, it goes on where it was.
    _refuse_to_be_nowhere(config, members or await asyncio.to_thread(lambda: Acquaintances(memory).addresses()))
    others, place = others_than(peer_id, members), Place.of(peer_id)
    is_known_elsewhere = bool(others) or memory.exists()
    await asyncio.to_thread(
        place.choose, config.host, config.port, config.dht_port, is_known_elsewhere=is_known_elsewhere
    )
    await asyncio.to_thread(refuse_to_join, peer_id, members)
    return Seat(identity, path, place, others)


def _refuse_to_be_nowhere(config: ServerConfig, members: Sequence[str]) -> None:
    """members: of its swarm, by what it was told or remembers. Raises InvalidRequest where all are elsewhere, and would
    be told an address of this machine's own."""
    hosts = [host for host in map(host_in, members) if host]
    if hosts and not config.announce and is_loopback(config.host) and not any(map(is_loopback, hosts)):
        raise InvalidRequest(
            f"the swarm at {hosts[0]} would be told to find this server at {config.host}, which is each machine's own "
            f"address; listen on {EVERYWHERE} ({option('host')} {EVERYWHERE}), or say where it is reached "
            f"({option('announce')} ADDRESS)"
        )


async def try_announced(endpoint: pb.Endpoint, member: Certificate | None) -> None:
    """Whether this server is found where others are told to look. Only a warning: behind some routers, that address
    leads here from everywhere but from here. member: in a private swarm, the server's certificate."""
    peer = Peer(endpoint, max_message_bytes(hidden_size=0), member)
    try:
        await peer.status(REACH_TIMEOUT_S)
    except PeerUnreachable:
        where = join_address(endpoint.host, endpoint.port)
        logger.warning(
            "others are told to find this server at %s, where it does not answer from here; see whether they reach it",
            where,
        )
    finally:
        await peer.close()
