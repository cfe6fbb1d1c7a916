"""Which addresses are this machine's."""

import errno
import os
import socket

import pytest

from swarm.wire.hosts import is_here


@pytest.mark.parametrize(("host", "here"), [("127.0.0.1", True), ("192.0.2.7", False), ("2001:db8::7", False)])
def test_whether_an_address_is_this_machines(host, here):
    assert is_here(host) == here


def test_whoever_has_no_handle_left_to_ask_with_stays_where_he_is(monkeypatch):
    def used_up(*arguments: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(socket, "socket", used_up)
    assert is_here("192.0.2.7")
