"""A file is whole, or what it was before, whatever the disk does."""

import errno
import os
import stat
from pathlib import Path

import pytest

from disks import small_files
from swarm.client.batch_files import AnswerFile
from swarm.storage import files
from swarm.storage.files import warn_if_shared, write_whole
from swarm.wire.identity import Identity
from swarm.wire.secret import Secret, read_secret


def test_a_file_is_replaced_as_a_whole_and_is_its_owners_alone(tmp_path):
    file = tmp_path / "new" / "file"
    for data in (b"one", b"another"):
        write_whole(file, data)
        assert file.read_bytes() == data
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    write_whole(file, b"shown", 0o644, is_durable=False)
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


def test_what_does_not_fit_leaves_the_file_as_it_was_and_nothing_beside_it(tmp_path):
    file = tmp_path / "file"
    write_whole(file, b"before")
    with small_files(1000), pytest.raises(OSError) as caught:
        write_whole(file, bytes(5000))
    assert caught.value.errno == errno.EFBIG
    assert file.read_bytes() == b"before" and list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    "write",
    [
        lambda file: write_whole(file, b"new"),
        lambda file: write_whole(file, b"new", replaces=False),
        Identity.load_or_create,
    ],
)
def test_a_power_cut_takes_neither_the_file_nor_its_name_nor_its_new_folders_back(tmp_path, monkeypatch, write):
    synced = []
    monkeypatch.setattr(files.os, "fsync", lambda descriptor: synced.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    write(tmp_path / "new" / "folder" / "file")
    part, *folders = map(Path, synced)
    assert part.parent == tmp_path / "new" / "folder" and part.name.startswith(".file.")
    assert set(folders) == {tmp_path, tmp_path / "new", tmp_path / "new" / "folder"}


def test_of_a_secret_that_others_may_read_one_line_says_how_to_close_it(tmp_path, caplog):
    key, secret = tmp_path / "a.key", tmp_path / "the secret"
    Identity.load_or_create(key)
    secret.write_text(Secret.generate())
    secret.chmod(0o600)
    read_secret(secret)
    assert caplog.messages == []
    for file, read in ((key, Identity.load_or_create), (secret, read_secret)):
        file.chmod(0o640)
        for _ in range(2):
            read(file)
    assert caplog.messages == [
        f"the key file {key} is open to others than its owner; close it with: chmod 600 {key}",
        f"the secret file {secret} is open to others than its owner; close it with: chmod 600 '{secret}'",
    ]


def test_what_is_not_this_users_own_file_is_not_theirs_to_close(tmp_path, caplog, monkeypatch):
    file, pipe = tmp_path / "mounted", tmp_path / "pipe"
    file.touch(0o644)
    os.mkfifo(pipe, 0o644)
    warn_if_shared(pipe, "secret file")
    warn_if_shared(tmp_path / "missing", "secret file")
    monkeypatch.setattr(files.os, "geteuid", lambda: file.stat().st_uid + 1)
    warn_if_shared(file, "secret file")
    assert caplog.messages == []


def test_the_name_of_a_batchs_answers_is_on_disk_too(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(files.os, "fsync", lambda descriptor: synced.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    AnswerFile(tmp_path / "answers.jsonl").close()
    assert synced == [str(tmp_path)]


def test_a_disk_that_does_not_know_how_to_keep_names_takes_files_all_the_same(tmp_path, monkeypatch):
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        real(descriptor)

    monkeypatch.setattr(files.os, "fsync", fsync)
    write_whole(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


def test_what_another_process_wrote_first_stays(tmp_path):
    write_whole(tmp_path / "file", b"first")
    write_whole(tmp_path / "file", b"second", replaces=False)
    assert (tmp_path / "file").read_bytes() == b"first" and len(list(tmp_path.iterdir())) == 1
