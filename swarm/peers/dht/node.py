"""One node of the DHT, kept whole: its daemon is started again when it dies, and nodes that went silent are called
again."""

import asyncio
import atexit
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from hivemind.dht.routing import DHTID
from hivemind.dht.validation import RecordValidatorBase
from hivemind.p2p import PeerID
from hivemind.p2p.p2p_daemon_bindings.datastructures import PeerInfo

from swarm.errors import PeerUnreachable, PrivateSwarm, SwarmError
from swarm.peers.dht.acquaintances import Acquaintances, by_peer
from swarm.peers.dht.bounded_storage import BoundedStorage
from swarm.peers.dht.private_p2p import is_private
from swarm.peers.dht.running import SOME_ERRORS, NodeOptions, Running
from swarm.peers.dht.timekeeper import Timekeeper
from swarm.storage.folders import OF_NODE, Folder, remove_leftovers
from swarm.wire.identity import Identity
from swarm.wire.listening import heard
from swarm.wire.secret import refused
from swarm.wire.tasks import TaskSet, is_ending
from swarm.wire.transport import check_port_free

logger = logging.getLogger(__name__)

CALL_TIMEOUT_S = 5.0  # to reach a node
STORE_TIMEOUT_S = GET_TIMEOUT_S = 10.0
RESTART_S = 2.0  # that a daemon needs to be there again, and then some
LOOK_ROUND_EVERY_S = 3.0
HUNG_AFTER = 4  # questions that a daemon did not answer, in CALL_TIMEOUT_S each: half a minute
FIRST_PAUSE_S, LAST_PAUSE_S = 0.2, 5.0  # between two tries to start the daemon again


class Node:
    """Everything happens in the event loop that it was created in. While the daemon is down, nothing is found or
    stored."""

    def __init__(
        self,
        options: NodeOptions,
        validator: RecordValidatorBase,
        acquaintances: Acquaintances,
        on_return: Callable[[], None] = lambda: None,
    ):
        """validator: of what is stored here, and found elsewhere. on_return: called when the node is back after others
        could have forgotten it."""
        self._options, self._validator, self._acquaintances = options, validator, acquaintances
        self._on_return = on_return
        self._id, self._storage = DHTID.generate(), BoundedStorage()
        self._running: Running | None = None
        self._is_up = asyncio.Event()
        self._port = 0  # where others know it
        self._folder: Folder | None = None  # of a key of its own
        self._is_alone = True
        self._unanswered = 0  # questions to the daemon, one after the other
        self._tasks = TaskSet("the directory's node")
        self._timekeeper = Timekeeper(serves=not options.client)

    # --- coming and going --------------------------------------------------------------------------------------------

    async def join(self, peers: Sequence[str], timeout_s: float) -> None:
        """Take part in the DHT of `peers` (multiaddresses) and of those met there before, or begin one if there are
        none. A node that was there before, and finds nobody, is the first to be back: the others will find it. Where
        it was told of peers, that is warned of.

        Raises PeerUnreachable if none of them answers in time, PrivateSwarm if they do not know the secret or this
        process does not know theirs, AddressInUse, SwarmError if the daemon does not start or this machine's clock is
        off by more than ten minutes.
        """
        check_port_free(self._options.host, self._options.port)  # libp2p would silently share a taken one
        await asyncio.to_thread(remove_leftovers)
        self._take_key()
        was_there = self._acquaintances.give(peers)
        self._running = await self._start(self._options.port)
        try:
            self._is_alone = not await self._call_all(by_peer(self._acquaintances.addresses()), timeout_s)
            if self._is_alone and peers:
                why_not = await self._why_not(peers)
                if self._options.client or not was_there or isinstance(why_not, PrivateSwarm):
                    raise why_not  # also one that was there: no outage, whose end is to be waited for, says so
            if not self._is_alone:
                self._acquaintances.answered()
                await asyncio.to_thread(self._acquaintances.save)
            await self._look_for_neighbours()
            await self._timekeeper.join(self._running.p2p, self._running.dht.protocol, founds=not was_there)
        except BaseException:
            await self.leave()
            raise
        if self._is_alone and was_there:
            self._tell_that_nobody_answers(peers)
        self._is_up.set()
        for what, look in (
            ("the libp2p daemon", self._tend_daemon),
            ("the directory's other nodes", self._look_round),
            ("the swarm's time", self._tend_clock),
        ):
            self._tasks.start(self._keep(what, look), what)

    def _tell_that_nobody_answers(self, peers: Sequence[str]) -> None:
        """Whoever names peers takes it that they are there, and is to know that this node is alone: an address may be
        wrong."""
        count = len(self._acquaintances)
        if peers:
            logger.warning(
                "none of the %d peers known from before answers yet, also not at %s; they are called again",
                count, peers[0],
            )  # fmt: skip
        else:
            logger.info("none of the %d peers known from before answers yet; they are called again", count)

    async def meet(self, addresses: Sequence[str]) -> None:
        """Be of one swarm with these, too, as far as they answer."""
        if await self._call_all(by_peer(addresses), CALL_TIMEOUT_S):
            self._is_alone = False
            await self._look_for_neighbours()

    @property
    def is_alone(self) -> bool:
        """Whether it found nobody when it joined."""
        return self._is_alone

    async def leave(self) -> None:
        """Stop taking part."""
        await self._tasks.close()
        if self._running:
            await self._running.stop()
            self._running = None
        if self._folder:
            self._folder.remove()
            atexit.unregister(self._folder.remove)
        await asyncio.to_thread(self._acquaintances.save)  # last: its disk may not answer

    def _take_key(self) -> None:
        """One for as long as it lives, if it was given none: its address names it, also by another daemon. And a place
        among nodes that is the key's: with a new one at each start, others would take it for two, and what they store
        at both for refused by the second."""
        if self._options.client:
            return
        if self._options.identity is None:
            self._folder = Folder(OF_NODE)
            atexit.register(self._folder.remove)  # where nobody waits for it to leave
            self._options = replace(self._options, identity=self._folder.path / "key")
        assert self._options.identity
        self._id = DHTID.generate(source=Identity.load_or_create(self._options.identity).peer_id)

    async def _start(self, port: int) -> Running:
        return await Running.start(self._options, port, self._id, self._storage, self._validator)

    # --- what it is for ----------------------------------------------------------------------------------------------

    async def store(self, key: str, subkey: str, value: bytes, expires_s: float) -> str:
        """Why the DHT did not take `value`, until that Unix time; empty: it did."""
        if (running := await self._present()) is None:
            return "this process's libp2p daemon is being started again"
        try:
            async with asyncio.timeout(STORE_TIMEOUT_S):
                is_stored = await running.dht.store(key, value, expires_s, subkey=subkey)
        except TimeoutError:
            return f"its nodes did not answer within {STORE_TIMEOUT_S:.0f} s"
        except SOME_ERRORS as error:
            return str(error) or repr(error)
        return "" if is_stored else "none of its nodes took it, as if they had a newer one or do not answer"

    async def get(self, key: str) -> dict[str, bytes]:
        """What is stored under `key`, by subkey. Raises PeerUnreachable if that cannot be said now: it is not to be
        taken for nothing."""
        if (running := await self._present()) is None:
            raise PeerUnreachable("the directory cannot be asked: this process's libp2p daemon is being started again")
        try:
            async with asyncio.timeout(GET_TIMEOUT_S):
                found = await running.dht.get(key, latest=True)
        except SOME_ERRORS as error:
            raise PeerUnreachable("the directory does not answer") from error
        if found is None or not isinstance(found.value, dict):
            return {}
        return {subkey: item.value for subkey, item in found.value.items() if isinstance(item.value, bytes)}

    async def addresses(self) -> list[str]:
        """Multiaddresses at which others can join through this node."""
        if self._running is None:
            return []
        return [str(address) for address in await self._running.p2p.get_visible_maddrs(latest=True)]

    async def _present(self) -> Running | None:
        """What there is, if need be after a moment in which a daemon that has died is started again."""
        with suppress(TimeoutError):
            async with asyncio.timeout(RESTART_S):
                await self._is_up.wait()
        return self._running

    # --- keeping it whole --------------------------------------------------------------------------------------------

    async def _keep(self, what: str, look: Callable[[], Awaitable[None]]) -> None:
        """Look again and again, whatever goes wrong: nobody else does, and nothing that strangers send or this machine
        lacks for a while is to end it."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                await look()
                pause_s = FIRST_PAUSE_S
            except Exception as error:
                if is_ending():  # the process, which has no threads for this any more
                    return
                logger.warning("%s: %s; it is tried again", what, error or repr(error))
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LAST_PAUSE_S)

    async def _tend_daemon(self) -> None:
        """Start it again when it dies, at the port where others know it."""
        if self._running:
            self._port = self._running.port
            await self._running.daemon.ended()
            logger.warning("the libp2p daemon died; it is started again")
            self._is_up.clear()
            self._unanswered = 0
            await self._running.stop()
            self._running = None
        check_port_free(self._options.host, self._port)
        self._running = await self._start(self._port)
        self._is_up.set()
        await self._call_all(by_peer(self._acquaintances.addresses()), CALL_TIMEOUT_S)
        await self._look_for_neighbours()
        self._on_return()

    async def _look_round(self) -> None:
        """Know who is there, and call on those that have gone silent: an outage may be over."""
        await asyncio.sleep(LOOK_ROUND_EVERY_S * random.uniform(0.7, 1.3))
        with suppress(*SOME_ERRORS):
            if await self._meet_again():
                await self._look_for_neighbours()
                self._on_return()

    async def _tend_clock(self) -> None:
        await asyncio.sleep(LOOK_ROUND_EVERY_S)
        running = self._running
        if running and await self._timekeeper.attend(running.p2p, running.dht.protocol):
            self._acquaintances.call_all()  # whose turns were by another time
            self._on_return()

    async def _meet_again(self) -> bool:
        """Whether a node is back that was not there a moment ago."""
        if self._running is None:
            return False
        connected = await self._connected(self._running)
        table = self._running.dht.protocol.routing_table
        present = {peer.peer_id.to_base58() for peer in connected if peer.peer_id in table.peer_id_to_uid}
        for peer in connected:
            if (id_ := peer.peer_id.to_base58()) in present:
                self._acquaintances.met(id_, [str(address) for address in peer.addrs])
        await asyncio.to_thread(self._acquaintances.save)
        return await self._call_all(self._acquaintances.to_call(present), CALL_TIMEOUT_S)

    async def _connected(self, running: Running) -> Sequence[PeerInfo]:
        """What the daemon says, which does not need the network for it. Raises TimeoutError, OSError; a daemon that
        hangs is to be replaced, and one whose socket somebody has removed."""
        try:
            connected: Sequence[PeerInfo] = await heard(running.p2p.list_peers(), CALL_TIMEOUT_S)
        except (TimeoutError, OSError):
            self._unanswered += 1
            if self._unanswered >= HUNG_AFTER:
                logger.warning("the libp2p daemon has not answered for a while")
                running.daemon.end()
            raise
        self._unanswered = 0
        return connected

    async def _call_all(self, nodes: dict[str, Sequence[str]], timeout_s: float) -> bool:
        """Whether any of them answered. nodes: addresses by peer id."""
        return self._running is not None and await self._running.call_all(nodes, timeout_s)

    async def _look_for_neighbours(self) -> None:
        """Be known to those nodes that are nearest, and know them."""
        if self._running:
            with suppress(*SOME_ERRORS):
                async with asyncio.timeout(CALL_TIMEOUT_S):
                    await self._running.dht.find_nearest_nodes([self._id])

    async def _why_not(self, peers: Sequence[str]) -> SwarmError:
        """The error to raise when none of `peers` lets this process in."""
        assert self._running
        members, secret = [PeerID.from_base58(id_) for id_ in by_peer(peers)], self._options.secret
        private = await asyncio.gather(*(is_private(self._running.p2p, member) for member in members))
        if True in private:
            return refused(secret)
        if False in private and secret:
            return PrivateSwarm(f"the swarm at {', '.join(peers)} is not private; leave the secret out to join it")
        named = by_peer(peers)
        if strangers := [where for id_, where in self._running.strangers.items() if id_ in named]:
            who = f"another peer than the one named answers at {', '.join(strangers)}"
            return PeerUnreachable(f"{who}; give its address as it prints it")
        return PeerUnreachable(f"no peer answers at {', '.join(peers)}; is it running and reachable from here?")
