"""On which ledger a server of the command line is paid."""

import pytest

from swarm.cli.server import make_billing, make_parser
from swarm.errors import InvalidRequest


def ledger(*arguments: str) -> str | None:
    billing = make_billing(make_parser().parse_args(list(arguments)))
    return billing and billing.ledger


def test_the_environment_counts_unless_the_command_line_says_otherwise(monkeypatch):
    monkeypatch.setenv("SWARM_LEDGER", "/book")
    assert ledger() == ledger("--price", "10n") == "/book"
    assert ledger("--ledger", "/other") == "/other"
    assert ledger("--ledger", "none") is None
    monkeypatch.delenv("SWARM_LEDGER")
    assert ledger() is None
    with pytest.raises(InvalidRequest, match="say which, with --ledger or SWARM_LEDGER"):
        ledger("--price", "10n")
