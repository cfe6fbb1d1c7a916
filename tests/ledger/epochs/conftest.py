"""Every kind of ledger, with rules that burn."""

from collections.abc import Iterator

import pytest

from epochs import BURNS
from ledgers import BACKENDS, World


@pytest.fixture(params=BACKENDS)
def world(request, tmp_path) -> Iterator[World]:
    with BACKENDS[request.param](tmp_path, BURNS) as world:
        yield world
