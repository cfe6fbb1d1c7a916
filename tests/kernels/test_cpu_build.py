"""How the C++ kernels come to be: built when first needed, kept, refused."""

import ctypes
import logging
from collections.abc import Iterator

import pytest

from swarm_kernels import cpu
from swarm_kernels.cpu import build, library


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
