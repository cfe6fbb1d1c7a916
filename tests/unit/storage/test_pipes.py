"""Files that are named on a command line, and are pipes."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from swarm.client.batch_files import read_jobs
from swarm.errors import InvalidRequest, SwarmError, UnusableFile
from swarm.storage import pipes
from swarm.storage.pipes import open_named
from swarm.verify.fraud.evidence import BEGINNING, MAX_BUNDLE_BYTES
from swarm.verify.fraud.examination import read_bundle
from swarm.verify.fraud.proofs import read_proof
from swarm.verify.receipts.export import load_receipts
from swarm.wire.secret import Secret, read_secret

READERS = {
    "secret": (read_secret, Secret.generate().encode()),
    "batch": (read_jobs, b'"a prompt"'),
    "receipts": (load_receipts, b"no receipt"),
    "evidence": (read_bundle, b"no evidence"),
    "proof": (read_proof, b"no proof"),
}


@pytest.fixture
def pipe(tmp_path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


def outcome(read: Callable[[Path], object], file: Path) -> object:
    try:
        return read(file)
    except SwarmError as error:
        return str(error).replace(str(file), "FILE")


@pytest.mark.parametrize("what", READERS)
def test_a_pipe_is_read_like_a_file_and_whoever_waits_for_it_says_so_once(what, pipe, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(pipes, "SILENT_S", 0.0)
    read, data = READERS[what]
    file, told = tmp_path / "file", threading.Event()
    file.write_bytes(data)

    def writes() -> None:
        """Nothing, until the reader has said that it waits."""
        told.wait()
        with open(pipe, "wb") as opened:
            for at in range(len(data)):
                opened.write(data[at : at + 1])
                opened.flush()

    def tells(*words: object) -> None:
        said.append(words)
        told.set()

    said: list[object] = []
    monkeypatch.setattr(pipes.logger, "warning", tells)
    writer = threading.Thread(target=writes)
    writer.start()
    found = outcome(read, pipe)
    if what not in ("evidence", "receipts"):  # which are read no further than it is seen that they are none
        writer.join()
    assert found == outcome(read, file)
    assert said == [("reading %s, which is a pipe: waiting for whoever writes to it", pipe)]


def test_of_a_pipe_that_is_written_at_once_nothing_is_said(pipe, caplog):
    writer = os.open(pipe, os.O_RDWR)  # as a writer alone it would wait for a reader
    os.write(writer, b"some ")
    with open_named(pipe) as opened:
        os.write(writer, b"text")
        os.close(writer)
        assert opened.read() == b"some text"
    assert caplog.messages == []


def test_the_size_of_a_file_is_looked_at_before_it_is_read(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(BEGINNING)
    os.truncate(file, MAX_BUNDLE_BYTES + 1)
    with pytest.raises(UnusableFile, match=f"{file} is larger than 1,024 MiB"):
        read_bundle(file)


def test_of_what_is_no_evidence_only_the_beginning_is_read(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.touch()
    os.truncate(file, MAX_BUNDLE_BYTES)
    read: list[int] = []
    monkeypatch.setattr("swarm.verify.fraud.examination.Bundle.decode", lambda data: read.append(len(data)))
    read_bundle(file)
    assert read == [len(BEGINNING)]


def test_a_proof_is_no_device(tmp_path):
    for read in (read_proof, read_bundle, load_receipts):
        with pytest.raises((InvalidRequest, UnusableFile)):
            read(Path("/dev/zero"))
