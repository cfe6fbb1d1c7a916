"""Keeps this process's clock at the swarm's time, which is what most of its peers' clocks say.

hivemind wants clocks to be within 3 s of one another, and what is signed here lives for 30 s; machines' clocks are off
by minutes, and are set while processes run. So nobody goes by the machine's clock alone:

- A newcomer asks all peers that it was given or has found by them, and takes the median; its own clock has no vote, for
  it is of no use to be right alone. Fewer than half of the others, if they lie, cannot move the median out of what
  honest clocks say. Where the swarm is as good as two peers that differ, the newcomer's own clock says which of them is
  right. One peer alone is believed, as far as ten minutes: whoever later meets more that agree comes back.
- A peer that others may have set their clocks by has a vote itself: the first one from the start, others from ten
  minutes on. Newcomers, who go by the swarm's time, confirm it, and liars need a majority to move it.
- Peers at one address have one vote, so that it takes more than a crowd of processes.
- What round trips leave open counts in favour of one's own clock: slow answers do not move it.
- Apart by more than a second, a clock is set; below that it drifts, as quartz does, and runs a little slower or faster.
- Nobody goes further than ten minutes off the machine's clock in one step, whatever the others say. On joining that is
  an error; later it is said, and the process goes on by its old time: sessions under way do not need the right one.
- In the long run the swarm's time follows the clocks of its machines, each of which draws at it with the same small
  force: it comes to rest at their median. So whoever founds a swarm by a wrong clock leaves it none. A peer that is
  alone has only the machine's.

A clock of the machine that is set, by whomever, thus changes nothing. A machine that stood still without its clocks
noticing, as virtual ones do, is behind the majority, and set; two servers that have nobody else are apart for as long
as it takes the machine to be set right, or ten minutes.
"""

import asyncio
import ipaddress
import logging
import math
import random
from collections.abc import Sequence

from google.protobuf.message import DecodeError
from hivemind.dht.protocol import DHTProtocol
from hivemind.p2p import P2P, PeerID
from hivemind.p2p.p2p_daemon_bindings.utils import P2PDaemonError, P2PHandlerError
from hivemind.proto.dht_pb2 import PingRequest
from hivemind.utils.multiaddr import Multiaddr

from swarm.clock import CLOCK, REACH_S, Clock, difference, moment
from swarm.errors import SwarmError
from swarm.peers.dht.agreement import ONE_TIME_S, Move, Own, Reading, agreed, move, votes
from swarm.peers.dht.dht_time import set_dht_time

logger = logging.getLogger(__name__)

ASK_EVERY_S = 30.0
SOON_S = 5.0  # after joining, when some may not have been found in time
ANSWER_S = 3.0
MOST_ASKED = 32
QUICK_S = 0.2  # an answer that took longer is asked for once more
SETTLED_S = 600.0  # from when on a newcomer has a vote of its own
PATIENCE_S = 600.0  # with votes that are split
_NO_ANSWER = (P2PDaemonError, P2PHandlerError, SwarmError, DecodeError, OSError, EOFError, TimeoutError)


class Timekeeper:
    """Of one node of the DHT."""

    def __init__(self, serves: bool, clock: Clock = CLOCK):
        """serves: others ask this node for the time; else it only goes by theirs. clock: of the whole process: hivemind
        goes by it from now on."""
        self._serves, self._clock = serves, clock
        self._counts_from_s = -math.inf  # on the steady clock, as all below
        self._asked_s = self._next_s = clock.steady_s()
        self._split_since_s: float | None = None
        self._machine_ahead_s, self._was_alone, self._has_complained = 0.0, True, False
        self._silent: set[PeerID] = set()  # those that did not answer when nobody did
        set_dht_time(clock.now_s)

    async def join(self, p2p: P2P, protocol: DHTProtocol, founds: bool) -> None:
        """Set the clock by the peers that are known. founds: if there are none, this is the swarm's first, and not one
        that looks for those it was with. Raises SwarmError if the clock is off by more than ten minutes."""
        readings = await self._read(p2p, protocol)
        self._schedule(protocol, bool(readings), SOON_S)
        if readings or not founds:
            self._counts_from_s = self._clock.steady_s() + SETTLED_S
        if not readings:
            return
        own = Own(counts=False, machine_ahead_s=self._clock.machine_ahead_s())
        step = move(ahead_s := agreed(votes(readings), own).ahead_s, own, passed_s=math.inf)
        if step.out_of_reach:
            raise SwarmError(self._too_far(ahead_s))
        self._clock.shift(step.by_s)
        if step.is_step:
            self._say_how_it_is()

    async def attend(self, p2p: P2P, protocol: DHTProtocol) -> bool:
        """To be called every few seconds: asks again if it is time, or if something has happened to the clock. Returns
        whether it was set, so that what this process said before may look as if it were over."""
        jumped = abs(self._clock.machine_ahead_s() - self._machine_ahead_s) > ONE_TIME_S
        has_company = self._was_alone and not set(protocol.routing_table.peer_id_to_uid) <= self._silent
        if self._clock.steady_s() < self._next_s and not jumped and not has_company:
            return False
        shifted_s = self._clock.shifted_s
        readings = await self._read(p2p, protocol)
        if self._clock.shifted_s != shifted_s:
            return False  # by another node of this process, in the meantime: what was read is not true any more
        now_s = self._clock.steady_s()
        passed_s, self._asked_s = now_s - self._asked_s, now_s
        is_set = False
        if readings:
            is_set = self._go_by(votes(readings), now_s, passed_s)
        elif self._serves:  # a client without peers waits for them
            self._clock.follow_machine(passed_s)
        self._schedule(protocol, bool(readings))
        return is_set

    def _go_by(self, voted: Sequence[float], now_s: float, passed_s: float) -> bool:
        """Whether that was a step."""
        is_split_for_long = self._split_since_s is not None and now_s - self._split_since_s > PATIENCE_S
        counts = self._serves and now_s >= self._counts_from_s
        own = Own(counts, self._clock.machine_ahead_s(), is_split_for_long)
        found = agreed(voted, own)
        self._note_split(found.is_split, now_s)
        step = move(found.ahead_s, own, passed_s)
        self._carry_out(step, found.ahead_s)
        return step.is_step

    def _note_split(self, is_split: bool, now_s: float) -> None:
        if not is_split:
            self._split_since_s = None
        elif self._split_since_s is None:
            self._split_since_s = now_s

    def _carry_out(self, step: Move, ahead_s: float) -> None:
        if step.out_of_reach and not self._has_complained:
            logger.error("%s", self._too_far(ahead_s))
        self._has_complained = step.out_of_reach
        self._clock.shift(step.by_s)
        if step.is_step:
            self._split_since_s = None
            where = "behind" if ahead_s > 0 else "ahead of"
            logger.warning("this process's time was %s %s the swarm's, and is set", difference(ahead_s), where)
            self._say_how_it_is()

    def _schedule(self, protocol: DHTProtocol, has_company: bool, pause_s: float | None = None) -> None:
        self._machine_ahead_s, self._was_alone = self._clock.machine_ahead_s(), not has_company
        self._silent = set() if has_company else set(protocol.routing_table.peer_id_to_uid)
        self._next_s = self._clock.steady_s() + (pause_s or ASK_EVERY_S) * random.uniform(0.7, 1.3)

    # --- asking ------------------------------------------------------------------------------------------------------

    async def _read(self, p2p: P2P, protocol: DHTProtocol) -> list[Reading]:
        """What the clocks of others say, of at most MOST_ASKED."""
        known = list(protocol.routing_table.peer_id_to_uid)
        asked = random.sample(known, min(len(known), MOST_ASKED))
        if not asked:
            return []
        sites = await _sites(p2p)
        found = await asyncio.gather(*(self._ask(protocol, one, sites.get(one, str(one))) for one in asked))
        return [reading for reading in found if reading]

    async def _ask(self, protocol: DHTProtocol, peer_id: PeerID, site: str) -> Reading | None:
        first = await self._ask_once(protocol, peer_id, site)
        if first is None or first.doubt_s < QUICK_S / 2:
            return first
        second = await self._ask_once(protocol, peer_id, site)
        return min(first, second, key=lambda one: one.doubt_s) if second else first

    async def _ask_once(self, protocol: DHTProtocol, peer_id: PeerID, site: str) -> Reading | None:
        asked_s, began_s = self._clock.now_s(), self._clock.steady_s()
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = await protocol.get_stub(peer_id).rpc_ping(PingRequest())
        except _NO_ANSWER:
            return None
        return Reading.of(site, answer.dht_time, asked_s, self._clock.steady_s() - began_s)

    # --- telling -----------------------------------------------------------------------------------------------------

    def _say_how_it_is(self) -> None:
        ahead_s = self._clock.machine_ahead_s()
        if abs(ahead_s) >= ONE_TIME_S:
            where = "ahead of" if ahead_s > 0 else "behind"
            apart = difference(ahead_s)
            logger.warning("this machine's clock is %s %s the swarm's; its messages use the swarm's time", apart, where)

    def _too_far(self, ahead_s: float) -> str:
        theirs_s = self._clock.now_s() + ahead_s
        own_s = self._clock.now_s() + self._clock.machine_ahead_s()
        return (
            f"this machine's clock says {moment(own_s)}, the swarm's {moment(theirs_s)}: they are "
            f"{difference(own_s - theirs_s)} apart, and no more than {difference(REACH_S)} are made up for. Set this "
            "machine's clock, and start again"
        )


async def _sites(p2p: P2P) -> dict[PeerID, str]:
    """Where the nodes are that this one is connected to."""
    try:
        async with asyncio.timeout(ANSWER_S):
            return {peer.peer_id: site_of(peer.addrs) for peer in await p2p.list_peers() if peer.addrs}
    except _NO_ANSWER:
        return {}


def site_of(addresses: Sequence[Multiaddr]) -> str:
    """The first of a node's addresses, without what one machine can have as many of as it likes: an IPv4 address, or
    the 64 bits of an IPv6 one that a network is given as a whole."""
    kind, host = str(addresses[0]).split("/")[1:3]
    if kind != "ip6":
        return host
    return str(ipaddress.ip_network((host, 64), strict=False))
