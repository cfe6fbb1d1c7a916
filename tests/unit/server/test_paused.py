"""A server in trouble lets nobody in, and whoever is in stays."""

import os

import pytest
import torch

from swarm.errors import PeerBusy
from swarm.model.kv_cache import PagePool
from swarm.server.admission.door import Door
from swarm.wire import messages_pb2 as pb


def test_while_there_is_trouble_nobody_is_let_in_and_whoever_asks_hears_why(demo_checkpoint):
    trouble = "it cannot write its receipts: disk is full"
    pool = PagePool(demo_checkpoint.config, 1, torch.float32, 2**20, torch.device("cpu"))
    door = Door(pool, 4, {}, trouble=lambda: trouble)
    request = pb.Open(session_id=os.urandom(16), stop=2, wire_dtype=pb.FLOAT32, max_tokens=1)
    for ask in (door.check_open, lambda: door.enter(request, "ipv4:192.0.2.1:1")):
        with pytest.raises(PeerBusy, match="takes no new sessions for now: it cannot write its receipts: disk is full"):
            ask()
    trouble = ""
    door.check_open()
    assert door.enter(request, "ipv4:192.0.2.1:1")
