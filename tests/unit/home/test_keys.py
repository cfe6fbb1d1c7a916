"""Which key a machine has, and where, as keys come and go."""

import gc
import logging
import os
from pathlib import Path

import pytest

from swarm.errors import SwarmError
from swarm.home import client_identity, standing_file
from swarm.home.identities import claimed_identity, client_key_file, key_slots, moved_file
from swarm.home.moving import export, take_in
from swarm.wire.identity import Identity


def test_however_a_key_is_named_all_that_belongs_to_it_moves(machines, monkeypatch):
    identity = client_identity()
    standing_file().write_bytes(b"")
    del identity
    gc.collect()
    monkeypatch.chdir(client_key_file().parent)
    moved = export(Path(client_key_file().name), machines.archive)
    assert (moved.key, moved.files) == (client_key_file(), 1)
    machines.use("second")
    assert take_in(machines.archive).key == client_key_file()


def test_a_key_is_on_a_machine_once_whatever_it_is_used_for(machines, tmp_path):
    own = tmp_path / "own.key"
    Identity.load_or_create(own)
    export(own, machines.archive)
    machines.use("second")
    client_key_file().parent.mkdir()
    client_key_file().write_bytes(own.read_bytes())
    with pytest.raises(SwarmError, match="on this machine already"):
        take_in(machines.archive)


@pytest.mark.parametrize("file", ["/dev/zero", "pipe"])
def test_what_is_no_file_is_no_key_and_not_waited_for(file, machines, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for use in (Identity.load_or_create, take_in):
        with pytest.raises(SwarmError, match="is no regular file"):
            use(pipe if file == "pipe" else Path(file))


def test_the_mark_of_a_key_that_its_owner_has_put_elsewhere_is_not_the_next_ones(machines):
    before = client_identity().peer_id
    gc.collect()
    export(client_key_file(), machines.archive)
    with pytest.raises(SwarmError, match="move that file away"):
        client_identity()
    client_key_file().unlink()
    assert client_identity().peer_id != before
    assert not moved_file(client_key_file()).exists()


def test_a_servers_owner_is_told_once_of_a_key_that_was_moved_and_again_when_it_was_moved_again(machines, caplog):
    def warnings_at_a_start() -> list[str]:
        caplog.clear()
        with claimed_identity() as (_, path):
            assert path == key_slots()[1]
        return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]

    with claimed_identity() as (_, path):
        pass
    export(path, machines.archive)
    (told,) = warnings_at_a_start()
    assert str(path) in told and f"remove {moved_file(path)}" in told
    assert warnings_at_a_start() == []
    moved_file(path).unlink()
    machines.archive.unlink()
    export(path, machines.archive)
    assert len(warnings_at_a_start()) == 1
