"""What a process logs again and again is said now and then."""

import logging

from swarm.cli.support.logs import AGAIN_S, MOST_REMEMBERED, Seldom


def record(message: str, *args: object, failed: bool = False) -> logging.LogRecord:
    failure = (RuntimeError, RuntimeError("x"), None) if failed else None
    return logging.LogRecord("swarm", logging.WARNING, "file", 1, message, args, failure)


def test_what_repeats_itself_is_said_once_in_a_while_and_how_often_it_was_not():
    now_s = 100.0
    seldom = Seldom(lambda: now_s)
    assert seldom.filter(record("%s is full", "the disk"))
    assert not any(seldom.filter(record("%s is full", "the disk")) for _ in range(7))
    assert seldom.filter(record("%s is full", "the memory"))
    now_s += AGAIN_S
    again = record("%s is full", "the disk")
    assert seldom.filter(again)
    assert again.getMessage() == "the disk is full (and 7 times more since)"


def test_tracebacks_from_one_place_are_the_same_whatever_their_figures():
    seldom = Seldom()
    assert seldom.filter(record("a batch of %d slices failed", 3, failed=True))
    assert not seldom.filter(record("a batch of %d slices failed", 4, failed=True))
    assert seldom.filter(record("a batch of %d slices failed", 4))


def test_what_is_remembered_is_bounded():
    seldom = Seldom()
    for number in range(MOST_REMEMBERED + 10):
        assert seldom.filter(record(f"message {number}"))
    assert len(seldom._said) == MOST_REMEMBERED
