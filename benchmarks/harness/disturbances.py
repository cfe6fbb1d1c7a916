"""What can happen to the servers of a chain while it generates, at random moments."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import swarm
from harness.replicas import Replicas
from swarm.client.local_swarm import LocalServer

SHORT, LONG = 24, 400  # tokens of a prompt; a long one takes a while to be computed again
NEW_TOKENS = 32
POLL_S = 0.002


@dataclass
class Trial:
    """One generation while it runs, as those see it who disturb it."""

    replicas: Replicas
    client: swarm.Client
    generation: swarm.Generation
    rng: random.Random
    step_s: float  # an undisturbed token's
    first_token_s: float  # an undisturbed one's, for this length of prompt
    over: threading.Event = field(default_factory=threading.Event)
    harmed: list[LocalServer] = field(default_factory=list)

    def await_token(self, count: int) -> None:
        """Wait until there are `count` tokens and a part of the next is done."""
        while len(self.generation.token_ids) < count and not self.over.is_set():
            time.sleep(POLL_S)
        time.sleep(self.rng.uniform(0, self.step_s))

    def any_moment(self) -> None:
        """At any token, or on its way to the next."""
        self.await_token(self.rng.randrange(1, NEW_TOKENS))

    def early(self) -> None:
        """With enough tokens to come for what takes a while."""
        self.await_token(self.rng.randrange(1, NEW_TOKENS // 3))

    def hop(self, index: int) -> LocalServer:
        return self.replicas.server(self.generation.route[index].peer_id)

    def any_hop(self) -> LocalServer:
        return self.hop(self.rng.randrange(len(self.generation.route)))

    def kill(self, *servers: LocalServer) -> None:
        self.harmed += servers
        self.replicas.kill(*servers)

    def drain(self, server: LocalServer) -> None:
        self.harmed.append(server)
        self.replicas.drain(server)

    def hang(self, server: LocalServer) -> None:
        self.harmed.append(server)
        self.replicas.hang(server)

    def pause_s(self, most: float) -> None:
        time.sleep(self.rng.uniform(0, most))

    def replacement_of(self, server: LocalServer) -> LocalServer | None:
        """Who was chosen instead of `server`, as soon as it holds a session."""
        spares = self.replicas.live(self.replicas.blocks_of(server))
        while not self.over.is_set():
            if busy := self.replicas.busy(self.client, spares):
                return busy[0]
            time.sleep(POLL_S)
        return None


# --- what happens ----------------------------------------------------------------------------------------------------


def kill(trial: Trial) -> None:
    trial.any_moment()
    trial.kill(trial.any_hop())


def hang(trial: Trial) -> None:
    trial.any_moment()
    trial.hang(trial.any_hop())


def two_kills(trial: Trial) -> None:
    trial.any_moment()
    hops = trial.rng.sample(range(len(trial.generation.route)), 2)
    trial.kill(*(trial.hop(index) for index in hops))


def kill_in_recovery(trial: Trial) -> None:
    """The replacement dies as well, while it is being filled."""
    trial.early()
    victim = trial.any_hop()
    trial.kill(victim)
    if replacement := trial.replacement_of(victim):
        trial.pause_s(0.3)
        trial.kill(replacement)


def neighbour_in_recovery(trial: Trial) -> None:
    """The hop before or after dies while the replacement is being filled."""
    trial.early()
    first = trial.rng.randrange(3)
    second = {0: 1, 1: trial.rng.choice((0, 2)), 2: 1}[first]
    neighbour = trial.hop(second)
    trial.kill(trial.hop(first))
    trial.pause_s(0.3)
    trial.kill(neighbour)


def kill_in_prefill(trial: Trial) -> None:
    trial.pause_s(trial.first_token_s)
    servers = [server for blocks in trial.replicas.ranges for server in trial.replicas.live(blocks)]
    if busy := trial.replicas.busy(trial.client, servers):
        trial.kill(trial.rng.choice(busy))


def kill_in_opening(trial: Trial) -> None:
    """Whether it is part of the chain or not, which is being opened."""
    trial.pause_s(0.03)
    blocks = trial.rng.choice(trial.replicas.ranges)
    trial.kill(*trial.replicas.live(blocks)[:-1])


def resume(trial: Trial) -> None:
    """A hung server wakes up again, while it is being replaced or later."""
    trial.early()
    victim = trial.any_hop()
    trial.hang(victim)
    trial.pause_s(1.5)
    trial.replicas.resume(victim)


def drain(trial: Trial) -> None:
    trial.early()
    trial.drain(trial.any_hop())


def kill_in_drain(trial: Trial) -> None:
    """The replacement dies while it is being filled beside the server that leaves."""
    trial.early()
    victim = trial.any_hop()
    trial.drain(victim)
    if replacement := trial.replacement_of(victim):
        trial.pause_s(0.3)
        trial.kill(replacement)


@dataclass(frozen=True)
class Scenario:
    disturb: Callable[[Trial], None]
    prompt: int  # tokens
    replicas: int  # of each range that have to be there at the start
    about: str


SCENARIOS = {
    "kill": Scenario(kill, SHORT, 2, "kill -9 of one server"),
    "hang": Scenario(hang, SHORT, 2, "SIGSTOP of one server"),
    "two-kills": Scenario(two_kills, SHORT, 2, "kill -9 of two at once"),
    "recovery": Scenario(kill_in_recovery, LONG, 3, "the replacement killed too"),
    "neighbour": Scenario(neighbour_in_recovery, LONG, 2, "a neighbour killed during recovery"),
    "prefill": Scenario(kill_in_prefill, LONG, 2, "kill -9 before the first token"),
    "opening": Scenario(kill_in_opening, SHORT, 2, "all replicas of a range but one killed at the start"),
    "resume": Scenario(resume, SHORT, 2, "SIGSTOP, then SIGCONT"),
    "drain": Scenario(drain, LONG, 2, "a server leaves (SIGTERM)"),
    "drain-recovery": Scenario(kill_in_drain, LONG, 3, "a server leaves, its replacement is killed"),
}
BEFORE_FIRST_TOKEN = ("prefill", "opening")  # the pause is looked for there
