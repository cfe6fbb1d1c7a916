"""What a client is told, checked before anything is loaded or anybody is asked."""

import logging

import pytest

from swarm.client.config import ClientConfig
from swarm.errors import InvalidRequest
from swarm.generate.options import parse_options


@pytest.fixture(autouse=True)
def no_ledger(monkeypatch):
    monkeypatch.delenv("SWARM_LEDGER", raising=False)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"colour": "red"}, r"unknown option 'colour'; help\(swarm.Client\) lists the options"),
        ({"wire_dtype": "float8"}, "unknown wire_dtype 'float8'; use one of float32"),
        ({"quant": "int1"}, "unknown quant 'int1'; use one of none"),
        ({"audit": "friends"}, "unknown audit 'friends'; use one of peers, local, off"),
        ({"audit_rate": 1.5}, "a share from 0 to 1, not 1.5"),
        ({"auction": True}, "auction needs a ledger; say which, with ledger or SWARM_LEDGER"),
        ({"budget": 1}, "budget needs a ledger"),
        ({"min_stake": 1}, "min_stake needs a ledger"),
        ({"auction": True, "ledger": "/tmp/ledger"}, "auction needs max_price"),
        ({"receipts": False, "audit": "peers"}, "work without receipts cannot be audited"),
        ({"receipts": False, "ledger": "/tmp/ledger"}, "work without receipts cannot be paid"),
        ({"receipts": False, "budget": 1}, "work without receipts cannot be paid"),
    ],
)
def test_options_that_mean_nothing_are_refused_with_what_would(options, what):
    with pytest.raises(InvalidRequest, match=what):
        ClientConfig.of("demo", None, None, options)


def test_limits_are_options_like_the_others():
    config = ClientConfig.of("demo", ["here"], "float32", {"coverage_timeout_s": 2.0, "quant": "int4"})
    assert (config.limits.coverage_timeout_s, config.limits.busy_timeout_s, config.quant) == (2.0, 60.0, "int4")


def test_without_receipts_nobody_audits_and_with_them_peers_do():
    assert ClientConfig().auditor == "peers"
    assert ClientConfig(receipts=False).auditor == "off"


def test_the_environments_ledger_counts_where_none_is_given(monkeypatch):
    monkeypatch.setenv("SWARM_LEDGER", "/tmp/ledger")
    assert ClientConfig.of("demo", None, None, {"ledger": None}).ledger == "/tmp/ledger"
    assert ClientConfig.of("demo", None, None, {"ledger": "/tmp/other"}).ledger == "/tmp/other"


def test_a_bid_is_a_priority_fee_by_its_old_name_and_says_so_in_one_line(caplog):
    with caplog.at_level(logging.WARNING), pytest.warns(DeprecationWarning, match="priority_fee"):
        options = parse_options({"bid": 7})
    assert options == parse_options({"priority_fee": 7})
    assert [record.message for record in caplog.records] == [
        "the option bid is called priority_fee now, and will be gone in the next release"
    ]
