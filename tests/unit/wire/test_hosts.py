"""Which addresses are this machine's."""

import pytest

from swarm.wire.hosts import is_here


@pytest.mark.parametrize(("host", "here"), [("127.0.0.1", True), ("192.0.2.7", False), ("2001:db8::7", False)])
def test_whether_an_address_is_this_machines(host, here):
    assert is_here(host) == here
