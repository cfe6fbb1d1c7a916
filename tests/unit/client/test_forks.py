"""What a forked child has of its parent's: nothing that it could end, or keep from ending."""

import os
import select

import pytest

from swarm.errors import SwarmError
from swarm.forks import Lifeline, Owner, freeze_in_child, keep_here, let_go


def in_child(work) -> int:
    """The exit status of a forked child that does `work`, and fails with 1."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_what_is_made_here_is_of_use_here_only():
    owner = Owner()
    owner.check("client")

    def look():
        assert not owner.is_here
        with pytest.raises(SwarmError, match="this client belongs to the process that this one was forked from"):
            owner.check("client")
        Owner().check("client")

    assert in_child(look) == 0


def test_who_waits_at_a_lifeline_hears_of_the_end_while_a_child_of_its_owner_lives():
    lifeline = Lifeline()
    held, release = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(release)
        os.read(held, 1)  # for as long as the parent wants
        os._exit(0)
    os.close(held)
    assert not select.select([lifeline.theirs], [], [], 0)[0]
    lifeline.cut()
    lifeline.cut()
    assert os.read(lifeline.theirs, 1) == b""
    lifeline.give()
    os.close(release)
    os.waitpid(pid, 0)


def test_a_descriptor_that_is_kept_here_is_closed_in_a_child_and_one_that_was_let_go_is_not():
    ours, theirs = os.pipe()
    keep_here(ours)
    keep_here(theirs)
    let_go(theirs)

    def look():
        os.fstat(theirs)
        with pytest.raises(OSError):
            os.fstat(ours)

    try:
        assert in_child(look) == 0
        os.fstat(ours)
    finally:
        let_go(ours)
        os.close(ours)
        os.close(theirs)


class Noisy:
    def __init__(self, descriptor: int):
        self._descriptor = descriptor

    def __del__(self):
        os.write(self._descriptor, b"x")


def test_what_is_frozen_has_no_end_in_a_child_and_its_own_here():
    theirs, ours = os.pipe()
    os.set_blocking(theirs, False)
    things = [Noisy(ours)]
    freeze_in_child(things[0])
    assert in_child(things.clear) == 0
    with pytest.raises(BlockingIOError):
        os.read(theirs, 1)
    things.clear()
    assert os.read(theirs, 1) == b"x"
    os.close(theirs)
    os.close(ours)


def test_a_lifeline_that_is_cut_twice_closes_nothing_of_others():
    """Not even a later lifeline whose descriptor has the same number."""
    first = Lifeline()
    first.cut()
    first.give()
    second = Lifeline()
    first.cut()
    assert in_child(second.cut) == 0
    assert not select.select([second.theirs], [], [], 0)[0]
    second.cut()
    second.give()
