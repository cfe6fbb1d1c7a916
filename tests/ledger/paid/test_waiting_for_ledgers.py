"""A ledger's machine that is back later than the servers that are paid there."""

import asyncio
import logging

import pytest

from swarm.errors import PaymentRequired, PeerUnreachable
from swarm.market import billing
from swarm.market.billing import when_it_answers


class Answers:
    """`error`, so many times; then 42."""

    def __init__(self, error: Exception, times: int):
        self.error, self.left = error, times

    def __call__(self) -> int:
        self.left -= 1
        if self.left >= 0:
            raise self.error
        return 42


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(billing, "LEDGER_RETRY_S", 0.001)


def test_a_ledger_that_does_not_answer_is_waited_for_and_that_is_said_once(caplog):
    caplog.set_level(logging.WARNING)
    ask = Answers(PeerUnreachable("the ledger at x:1 does not answer"), 3)
    assert asyncio.run(when_it_answers(ask)) == 42
    assert caplog.messages == ["the ledger at x:1 does not answer; it is asked again for 300 s"]


def test_not_for_ever_and_not_where_it_answers(monkeypatch):
    ask = Answers(PaymentRequired("too little"), 1)
    with pytest.raises(PaymentRequired):
        asyncio.run(when_it_answers(ask))
    monkeypatch.setattr(billing, "LEDGER_WAIT_S", 0.02)
    with pytest.raises(PeerUnreachable):
        asyncio.run(when_it_answers(Answers(PeerUnreachable("gone"), 10**9)))
