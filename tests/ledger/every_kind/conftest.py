"""Every kind of ledger, one after another."""

from dataclasses import replace

import pytest

from ledgers import BACKENDS, RULES, World
from swarm.wire.formats.amounts import CREDIT


@pytest.fixture(params=BACKENDS)
def make_ledger(request, tmp_path):
    """Makes a world with other rules than RULES."""
    opened = []

    def make(**changes: int) -> World:
        backend = BACKENDS[request.param](tmp_path / str(len(opened)), replace(RULES, **changes))
        opened.append(backend)
        return backend.__enter__()

    yield make
    for backend in opened:
        backend.__exit__(None, None, None)


@pytest.fixture
def world(make_ledger) -> World:
    """Alice has 100 credits, and bob 50."""
    world = make_ledger()
    world.issuer.mint(world.alice.address, 100 * CREDIT)
    world.issuer.mint(world.bob.address, 50 * CREDIT)
    return world
