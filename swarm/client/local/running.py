"""What there is of a LocalSwarm while it runs, and the list of those in this process.

It does not know its LocalSwarm: when that is dropped, what runs ends.
"""

import atexit
import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from swarm.client.background import wait, when_dropped
from swarm.client.local.process import Launched, LocalServer, abandon
from swarm.client.local.progress import is_notebook, say
from swarm.errors import SwarmError
from swarm.forks import Owner, freeze_in_child
from swarm.peers.directory import Directory
from swarm.storage.folders import OF_SWARM, Folder
from swarm.wire.secret import Secret


@dataclass(frozen=True)
class Settings:
    """By which a swarm is known. kept: it was started by `start`, not by a `with` statement, and so it is replaced when
    the same is started again, as a notebook does where a cell is run twice."""

    model: str
    blocks: tuple[str, ...]
    options: tuple[tuple[str, str | bool], ...]
    secret_name: str  # empty: open to all
    kept: bool


class Running:
    """Starts with a directory node and an empty folder; servers are added to it."""

    def __init__(self, settings: Settings, secret: Secret | None):
        self.settings, self.secret, self.folder = settings, secret, Folder(OF_SWARM)
        self.servers: list[LocalServer] = []
        self._launched: list[Launched] = []  # all that may live, also those that are not ready, or were replaced
        self.asked: dict[Path, tuple[dict[str, str | bool], str | None]] = {}  # of a server's own, by its home
        self.peers: list[str] = []
        self._directory: Directory | None = None
        self._dropped: weakref.finalize[Any, object] | None = None
        self._owner, self.is_open = Owner(), True
        freeze_in_child(self)
        _all.append(self)

    def join(self) -> None:
        """The directory has a node here, so that the swarm's address outlives any of its servers."""
        self._directory = wait(Directory.join(secret=self.secret))
        self.peers = wait(self._directory.addresses())

    def add(self, launched: Launched) -> None:
        """It ends with this, whatever becomes of it. Raises SwarmError if this has ended meanwhile."""
        self._launched = [one for one in self._launched if one[0].poll() is None]
        self._launched.append(launched)
        if not self.is_open:  # another thread has ended it, perhaps before it could know of this one
            abandon([launched])
            raise SwarmError("this LocalSwarm was stopped while a server of it started")

    def close(self) -> None:
        """Stop everything, at once. May be called again."""
        if not self._owner.is_here:
            return
        self.end()
        directory, self._directory = self._directory, None
        if directory:
            wait(directory.leave())

    def end(self) -> None:
        """Stop the servers, and keep nothing of them. The directory's node goes with this process."""
        self.forget()
        if self._dropped:
            self._dropped.detach()
        for server in self.servers:
            server.kill()
        abandon(list(self._launched))
        for server in self.servers:
            server.keep_log()
        self.folder.remove()

    def forget(self) -> None:
        """Clients made from now on do not find it."""
        self.is_open = False
        if self in _all:
            _all.remove(self)

    def end_with(self, owner: object) -> None:
        """When `owner` is dropped, this ends, too; a program's end is seen to by `_end_all`."""
        self._dropped = when_dropped(owner, partial(_close_dropped, self), self.forget)


_all: list[Running] = []  # in the order in which they were started


def latest(model: str) -> Running | None:
    """The one that was started last, of those that are open to clients and serve `model`."""
    return next((one for one in reversed(_all) if one.peers and _is_same(one.settings.model, model)), None)


def serving(peers: Sequence[str]) -> Running | None:
    """The one whose addresses these are, all of them."""
    return next((one for one in reversed(_all) if one.peers and {*peers} <= {*one.peers}), None)


def replace(settings: Settings) -> None:
    """Stop what was started with the same settings by the same cell; in a notebook, whatever a `start` has started of
    the same model: a cell that was edited is run again, and the notebook itself has a reference to what it made."""
    for one in [one for one in _all if settings.kept and one.settings.kept and _gives_way(one.settings, settings)]:
        options = "" if one.settings != settings else " with the same options"
        say(f"stopping the LocalSwarm of {one.settings.model} that was started before{options}")
        one.close()


def _gives_way(old: Settings, new: Settings) -> bool:
    return old == new or (is_notebook() and _is_same(old.model, new.model))


def _is_same(one: str, other: str) -> bool:
    return one == other or (os.path.exists(one) and os.path.exists(other) and os.path.samefile(one, other))


def _close_dropped(running: Running) -> None:
    say("a LocalSwarm that no variable refers to any more is stopped")
    running.close()


@atexit.register
def _end_all() -> None:
    """Nothing new can be begun in the background by now."""
    for running in list(_all):
        running.end()


def _in_child() -> None:
    _all.clear()


os.register_at_fork(after_in_child=_in_child)
