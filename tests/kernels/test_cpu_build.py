"""How the C++ kernels come to be: built when first needed, kept, refused."""

import ctypes
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from swarm_kernels import cpu, folders
from swarm_kernels.cpu import build, library
from swarm_kernels.triton import tiles


@pytest.fixture
def empty_cache(tmp_path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No kernels built so far."""
    monkeypatch.setenv("SWARM_KERNEL_CACHE", str(tmp_path))
    caches = (build.build, library.library, library.is_available)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        cached.cache_clear()


@pytest.mark.parametrize(
    ("compiler", "reason"), [("false", "could not build"), ("/nonexistent/c++", "could not build")]
)
def test_without_a_working_compiler_torch_computes_and_says_so_once(empty_cache, monkeypatch, caplog, compiler, reason):
    monkeypatch.setenv("CXX", compiler)
    with caplog.at_level(logging.WARNING):
        assert not cpu.is_available()
        assert not cpu.is_available()
    lines = [record.getMessage() for record in caplog.records if "torch computes instead" in record.getMessage()]
    assert len(lines) == 1
    assert reason in lines[0]


def test_kernels_are_built_once_and_kept(empty_cache, monkeypatch, caplog):
    with caplog.at_level(logging.INFO):
        first = build.build(build.choose_level())
        build.build.cache_clear()
        monkeypatch.setenv("CXX", "false")
        assert build.build(build.choose_level()) == first
    announced, built = [record.getMessage() for record in caplog.records]  # and not one warning of the compiler's
    assert "building the CPU kernels, once" in announced and str(first) in built


def kept_among_temporary_files(folder: Path) -> Path:
    """As if an earlier process had built kernels there."""
    level = build.choose_level()
    kept = folder / f"swarm-kernels-{os.getuid()}" / f"{level}-{build.source_hash(level)}.so"
    kept.parent.mkdir(mode=0o700)
    kept.write_bytes(b"")
    return kept


def test_where_the_usual_folder_does_not_do_another_is_taken_and_named_in_one_line(
    empty_cache, tmp_path, monkeypatch, caplog
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SWARM_KERNEL_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    kept = kept_among_temporary_files(tmp_path)
    with caplog.at_level(logging.WARNING):
        assert build.build(build.choose_level()) == kept
    (line,) = caplog.messages
    assert str(tmp_path / "file") in line and str(kept.parent) in line


def test_a_user_without_a_home_has_kernels_too(empty_cache, tmp_path, monkeypatch, caplog):
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("SWARM_KERNEL_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(folders.Path, "home", homeless)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    kept = kept_among_temporary_files(tmp_path)
    assert build.build(build.choose_level()) == kept
    assert "has no home folder" in caplog.text
    assert tiles.TileCache()._path == Path(os.environ["SWARM_HOME"]) / "triton_tiles.json"
    monkeypatch.delenv("SWARM_HOME")
    fastest = tiles.CANDIDATES[0]
    assert tiles.TileCache().tune("k", 1, lambda tile: float(tile != fastest)) == fastest  # and it is kept nowhere


def test_nothing_is_loaded_from_a_folder_that_others_can_write_to(empty_cache, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SWARM_KERNEL_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    kept_among_temporary_files(tmp_path).parent.chmod(0o777)
    with pytest.raises(build.Unavailable, match="nor in"):
        build.build(build.choose_level())


def test_what_the_system_does_not_load_leaves_torch_to_compute(empty_cache, tmp_path, caplog):
    """As from a disk that became noexec, or a file that was cut off."""
    level = build.choose_level()
    (tmp_path / f"{level}-{build.source_hash(level)}.so").write_bytes(b"no library")
    with caplog.at_level(logging.WARNING):
        assert not cpu.is_available()
    (line,) = caplog.messages
    assert "torch computes instead: they cannot be loaded" in line


def test_a_disk_mounted_noexec_is_found_out(tmp_path):
    program = f"from swarm_kernels.folders import why_not; import pathlib; print(why_not(pathlib.Path('{tmp_path}')))"
    script = f'mount -t tmpfs -o noexec none {tmp_path} && exec {sys.executable} -c "{program}"'
    found = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True)
    if found.returncode:
        pytest.skip("mounts need root")
    assert found.stdout == "mounted noexec\n"


def test_triton_keeps_its_kernels_where_it_can(tmp_path, monkeypatch, caplog):
    triton_cache = pytest.importorskip("swarm_kernels.triton.cache")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(triton_cache.knobs.cache, "dir", str(tmp_path / "usual"))
    triton_cache.settle_cache()
    assert triton_cache.knobs.cache.dir == str(tmp_path / "usual") and not caplog.messages
    for unfit in ("~/.triton/cache", "/proc/nothing"):
        caplog.clear()
        monkeypatch.setattr(triton_cache.knobs.cache, "dir", unfit)
        triton_cache.settle_cache()
        assert triton_cache.knobs.cache.dir == str(tmp_path / f"swarm-triton-{os.getuid()}")
        assert len(caplog.messages) == 1 and unfit in caplog.text


def test_structures_of_another_size_than_the_kernels_have_are_refused(monkeypatch):
    class Longer(library.StepView):
        _fields_ = [("more", ctypes.c_int64)]

    monkeypatch.setattr(library, "StepView", Longer)
    library.library.cache_clear()
    with pytest.raises(TypeError, match=r"Longer has \d+ bytes, and its structure in blocks.cpp \d+"):
        library.library()


def test_what_the_variable_asks_for_is_taken_or_refused(monkeypatch):
    monkeypatch.setenv("SWARM_CPU_KERNELS", "torch")
    with pytest.raises(build.Unavailable, match="torch"):
        build.choose_level()
    monkeypatch.setenv("SWARM_CPU_KERNELS", "sse")
    with pytest.raises(build.Unavailable, match="none of torch"):
        build.choose_level()
    monkeypatch.setenv("SWARM_CPU_KERNELS", "")
    monkeypatch.setattr(build, "processor_features", lambda: frozenset({"sse2"}))
    with pytest.raises(build.Unavailable, match="no AVX2"):
        build.choose_level()
