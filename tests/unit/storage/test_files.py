"""A file is whole, or what it was before, whatever the disk does."""

import errno
import stat

import pytest

from disks import small_files
from swarm.storage.files import write_whole


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
