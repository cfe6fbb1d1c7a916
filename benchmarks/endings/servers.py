"""Servers that are told to end, idle and with sessions: others of the same blocks are there to take these over."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import swarm
from endings.processes import Program, TypedProgram, is_alive, living, wait_for
from endings.ways import Way
from swarm.client.background import wait
from swarm.client.local_swarm import LocalSwarm

DRAIN_S, LEAVE_S = 5.0, 5.0
RECORD_LIFE_S = 9.0
START_S = 120.0
TOKENS = 1500  # of a session
BLOCKS = "0:3"


@dataclass(frozen=True)
class Ending:
    """How one went. gone_s: None: not in time. record: said goodbye, expired, or stayed."""

    gone_s: float | None
    status: int | None
    left: Sequence[str]  # processes
    record: str
    sessions: int  # that were open when it was told
    equal: int  # of these, the texts that are as they should be


class Sessions:
    """Generations through one server, and what they should give."""

    def __init__(self, client: swarm.Client, peer_id: str, prompts: Sequence[str], expected: Sequence[str]):
        hop = swarm.Hop(peer_id, (0, 3))
        options = {"max_new_tokens": TOKENS, "ignore_eos": True, "through": [hop]}
        self._streams = [client.stream(prompt, **options) for prompt in prompts]
        self._expected = expected
        self._texts = [""] * len(prompts)
        self._threads = [threading.Thread(target=self._read, args=[place]) for place in range(len(prompts))]
        for thread in self._threads:
            thread.start()
        wait_for(lambda: all(self._texts), 30.0)

    @property
    def open(self) -> int:
        return sum(thread.is_alive() for thread in self._threads)

    def _read(self, place: int) -> None:
        try:
            for piece in self._streams[place]:
                self._texts[place] += piece
        except swarm.SwarmError as error:
            self._texts[place] = f"failed: {error}"

    def equal(self) -> int:
        for thread in self._threads:
            thread.join()
        return sum(text == expected for text, expected in zip(self._texts, self._expected, strict=True))


class Servers:
    """Of one model: some that stay, and those that are told to end."""

    def __init__(self, model: str, folder: Path, sessions: int):
        self._model, self._folder, self._numbers = model, folder, count()
        self._prompts = [f"Of number {number} it is told that" for number in range(sessions)]

    def __enter__(self) -> "Servers":
        self._local = LocalSwarm(self._model, [BLOCKS], threads=1).__enter__()
        self._client = swarm.Client(self._model, self._local.peers, audit="off")
        options = {"max_new_tokens": TOKENS, "ignore_eos": True}
        self._expected = [self._client.generate(prompt, **options).text for prompt in self._prompts]
        return self

    def __exit__(self, *exception: object) -> None:
        self._client.close()
        self._local.close()

    def end(self, way: Way, at_once: int, with_sessions: bool) -> list[Ending]:
        """So many of them at the same time."""
        arguments = [
            "-m", "swarm.server", "--model", self._model, "--blocks", BLOCKS, "--threads", "1",
            "--drain", str(DRAIN_S), "--record-life", str(RECORD_LIFE_S), "--peers", *self._local.peers,
        ]  # fmt: skip
        kind = TypedProgram if way.is_typed else Program
        programs = [kind(self._folder / f"{next(self._numbers)}", arguments) for _ in range(at_once)]
        try:
            for program in programs:
                if wait_for(lambda program=program: program.says("Ctrl-C"), START_S) is None:
                    raise SystemExit(f"a server did not start: {program.arguments}")
            ids = [peer_id_of(program) for program in programs]
            wait_for(lambda: set(ids) <= self._listed(), 10.0)
            with ThreadPoolExecutor(at_once) as pool:
                futures = [pool.submit(self._end, way, *one, with_sessions) for one in zip(programs, ids, strict=True)]
                return [future.result() for future in futures]
        finally:
            for program in programs:
                program.clean_up()

    def _end(self, way: Way, program: Program, peer_id: str, with_sessions: bool) -> Ending:
        prompts, expected = (self._prompts, self._expected) if with_sessions else ([], [])
        sessions = Sessions(self._client, peer_id, prompts, expected)
        pid, were_open = program.pid, sessions.open
        started = time.monotonic()
        way.tell(program)
        gone = wait_for(lambda: not is_alive(pid), DRAIN_S + LEAVE_S + 2.0)
        gone_s = None if gone is None else time.monotonic() - started
        record = "goodbye" if wait_for(lambda: peer_id not in self._listed(), 1.0) is not None else ""
        wait_for(lambda: not living(program.home) and program.status is not None, 2.0)
        status, left = program.status, program.clean_up()
        if not record:
            is_expired = wait_for(lambda: peer_id not in self._listed(), RECORD_LIFE_S + 2.0) is not None
            record = "expired" if is_expired else "stayed"
        return Ending(gone_s, status, left, record, were_open, sessions.equal())

    def _listed(self) -> set[str]:
        """What the directory says."""
        table = self._client.parts.router.table
        wait(table.refresh(0.1))
        return {peer.peer_id for peer in table.listed()}


def peer_id_of(program: Program) -> str:
    """From its own addresses: a terminal may have broken its line."""
    (file,) = (program.home / "nodes").glob("*.json")
    return file.read_text().partition("/p2p/")[2].partition('"')[0]
