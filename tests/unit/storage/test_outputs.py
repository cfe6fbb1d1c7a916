"""Files that a user named for what a command has to say."""

import errno
import os
import stat
import subprocess
import sys

import pytest

from disks import small_files
from swarm.storage.outputs import output, write_output

MUCH = "x" * 5000


def test_what_does_not_fit_leaves_what_was_there_and_nothing_beside_it(tmp_path):
    file, new = tmp_path / "file", tmp_path / "new"
    file.write_text("before")
    for place in (file, new):
        with small_files(1000), pytest.raises(OSError) as caught:
            write_output(place, MUCH)
        assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(place))
    assert file.read_text() == "before" and list(tmp_path.iterdir()) == [file]


def test_what_goes_wrong_half_way_leaves_what_was_there(tmp_path):
    file = tmp_path / "file"
    file.write_text("before")
    with pytest.raises(ZeroDivisionError), output(file) as opened:
        opened.write(b"half")
        raise ZeroDivisionError
    assert file.read_text() == "before" and list(tmp_path.iterdir()) == [file]


def test_a_link_stays_one_and_a_file_keeps_its_rights(tmp_path):
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("before")
    file.chmod(0o640)
    link.symlink_to(file)
    write_output(link, "after")
    assert link.is_symlink() and file.read_text() == "after"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_a_new_file_has_the_rights_that_its_user_gives_new_files(tmp_path):
    before = os.umask(0o027)
    try:
        write_output(tmp_path / "file", "new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


@pytest.mark.parametrize(("redirection", "found"), [("| cat >> file", "before, said"), (">> file", "before, said"),
                                                    ("> file", "said")])  # fmt: skip
def test_standard_output_is_written_to_by_its_name_wherever_it_goes(tmp_path, redirection, found):
    file = tmp_path / "file"
    file.write_text("before, ")
    script = 'from swarm.storage.outputs import write_output; write_output("/dev/stdout", "said")'
    subprocess.run(["bash", "-c", f"{sys.executable} -c '{script}' {redirection}"], cwd=tmp_path, check=True)
    assert file.read_text() == found and list(tmp_path.iterdir()) == [file]


def test_a_folder_that_is_not_there_is_not_made(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        write_output(tmp_path / "none" / "file", "text")
    assert caught.value.filename == str(tmp_path / "none" / "file") and not list(tmp_path.iterdir())
