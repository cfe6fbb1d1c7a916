"""A ledger that is a contract, on a chain in memory."""

import pytest

from ledgers import RULES, evm
from swarm.wire.formats.amounts import CREDIT


@pytest.fixture
def world(tmp_path):
    """Alice and bob have 100 credits each."""
    with evm(tmp_path, RULES) as world:
        for holder in (world.alice, world.bob):
            world.issuer.mint(holder.address, 100 * CREDIT)
        yield world
