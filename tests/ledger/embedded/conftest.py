"""An embedded ledger."""

import pytest

from ledgers import KEYS, RULES, sqlite


@pytest.fixture
def file(tmp_path):
    return tmp_path / "ledger.db"


@pytest.fixture
def world(tmp_path):
    with sqlite(tmp_path, RULES) as world:
        world.issuer.mint(KEYS["alice"].address, 1_000)
        yield world
