"""What a contributor reads of a server's life."""

import json
import os
import re
from types import SimpleNamespace

import pytest

from listed import peer
from swarm.cli.support import serving
from swarm.cli.support.events import Events
from swarm.cli.support.serving import Narrator
from swarm.market.stake import quoted_stake
from swarm.server import life
from swarm.server.config import ServerConfig
from swarm.wire.formats.amounts import CREDIT, format_amount
from swarm.wire.formats.quotes import FREE, Price, Quote

QUOTE = Quote(bytes(32), "fixed", Price(50, 1000), Price(50, 1000), 64)


def told(capsys, event: life.Event, as_json: bool = False) -> str:
    Narrator(ServerConfig(), Events(as_json)).tell(event)
    return capsys.readouterr().out


def test_the_stake_that_clients_look_for_is_said_before_anything_is_loaded(capsys):
    needed = quoted_stake(QUOTE, 10)
    text = told(capsys, life.Asking((0, 10), QUOTE, 0))
    assert re.match(rf"Clients look for {format_amount(needed)} credits? at stake for .* blocks 0:10; .* has 0\.", text)
    assert f"--stake {format_amount(needed)}" in text and text.count("\n") == 1
    enough = told(capsys, life.Asking((0, 10), QUOTE, CREDIT))
    assert "this server has 1." in enough and "--stake" not in enough
    event = json.loads(told(capsys, life.Asking((0, 10), QUOTE, 7), as_json=True))
    assert (event["event"], event["needed"], event["staked"]) == ("stake", needed, 7)


def test_of_work_for_nothing_no_stake_is_spoken(capsys):
    assert told(capsys, life.Asking((0, 10), Quote(bytes(32), "fixed", FREE, FREE, 64), 0)) == ""


@pytest.mark.parametrize(("others", "command"), [([], "stop"), ([1], "stop RXwyz9ab")])
def test_the_command_that_ends_a_server_names_it_where_there_are_others(capsys, monkeypatch, others, command):
    running = [SimpleNamespace(pid=pid, close=lambda: None) for pid in [os.getpid(), *others]]
    monkeypatch.setattr(serving, "running_servers", lambda: running)
    ready = life.Ready(
        peer("16Uiu2HAmRXwyz9ab"), ("/ip4/127.0.0.1/tcp/4002/p2p/x",), room_tokens=100, staked=0, gaps=(), loading=(),
        is_split=False, is_apart=False,
    )  # fmt: skip
    assert f"Ctrl-C, or `python -m swarm {command}`, leaves the swarm." in told(capsys, ready)
