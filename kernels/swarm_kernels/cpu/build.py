"""The C++ kernels as a shared library: built with the system's compiler when first needed, then kept."""

import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path

from swarm_kernels.folders import home_folder, private_folder, why_not

logger = logging.getLogger(__name__)

_FOLDER = Path(__file__).parent
_COMPILERS = ("c++", "g++", "clang++")
_TIMEOUT_S = 300
# -ffp-contract=off: the compiler must not fuse what the source does not, or bits would depend on its version.
_FLAGS = ("-std=c++17", "-O2", "-fno-math-errno", "-ffp-contract=off", "-shared", "-fPIC", "-pthread")
_WARNINGS = ("-Wall", "-Wextra")

# Processor features (names of /proc/cpuinfo, and of the compiler's -m flags) that each build needs, best first.
LEVELS = {
    "avx512bf16": ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "avx512_bf16", "avx2", "fma", "f16c"),
    "avx512": ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni", "avx2", "fma", "f16c"),
    "avx2": ("avx2", "fma", "f16c"),
}


class Unavailable(Exception):
    """The kernels cannot be used here; the message says why in one line."""


def choose_level() -> str:
    """The best build for this processor; SWARM_CPU_KERNELS names another one, or "torch" for none.

    Raises Unavailable.
    """
    asked = os.environ.get("SWARM_CPU_KERNELS", "")
    if asked == "torch":
        raise Unavailable("SWARM_CPU_KERNELS=torch")
    if asked and asked not in LEVELS:
        raise Unavailable(f"SWARM_CPU_KERNELS={asked!r:.40} is none of torch, {', '.join(LEVELS)}")
    features = processor_features()
    for level, needed in LEVELS.items():
        if features.issuperset(needed) and asked in ("", level):
            return level
    raise Unavailable(f"this processor has no {asked or 'AVX2'}")


def source_hash(level: str) -> str:
    """12 hex digits over the sources and how they are compiled: they and the input decide the output's bits."""
    digest = hashlib.sha256(" ".join((*_FLAGS, level)).encode())
    for path in sorted([*_FOLDER.glob("*.h"), *_FOLDER.glob("*.cpp")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


@cache
def build(level: str) -> Path:
    """The library for `level`, compiled now if no earlier process has done so. Raises Unavailable."""
    path = _cache_file(f"{level}-{source_hash(level)}.so")
    if not path.exists():
        try:
            _compile(level, path)
        except OSError as error:
            raise Unavailable(f"cannot write {path.parent}: {error.strerror}") from error
    return path


def _cache_file(name: str) -> Path:
    """Where the library of that name is, or will be: where SWARM_KERNEL_CACHE says, or in the user's cache; if that
    does not do, among temporary files. Not under SWARM_HOME, which is a peer's own: all processes of a user share what
    is built. Raises Unavailable if there is no place."""
    folder, reason = _usual_folder(), "this user has no home folder"
    if folder:
        # What is there already can be read from a folder that cannot be written to.
        is_there = (folder / name).exists() and not os.statvfs(folder).f_flag & os.ST_NOEXEC
        reason = "" if is_there else why_not(folder)
        if not reason:
            return folder / name
    try:
        instead = private_folder("swarm-kernels")
        why = why_not(instead)
    except OSError as error:
        instead, why = Path(tempfile.gettempdir()), error.strerror or str(error)
    usual = folder or "the usual place"
    if why:
        raise Unavailable(f"they cannot be kept in {usual} ({reason}), nor in {instead} ({why}); name a folder with "
                          "SWARM_KERNEL_CACHE")  # fmt: skip
    logger.warning("the CPU kernels cannot be kept in %s (%s): they are in %s", usual, reason, instead)
    return instead / name


def _usual_folder() -> Path | None:
    if named := os.environ.get("SWARM_KERNEL_CACHE"):
        return Path(named)
    home = home_folder()
    base = os.environ.get("XDG_CACHE_HOME") or (home and home / ".cache")
    return Path(base) / "swarm" / "kernels" if base else None


def _compile(level: str, path: Path) -> None:
    compiler = find_compiler()
    logger.info("building the CPU kernels, once for this machine; on a processor that is idle it takes ten seconds")
    started = time.monotonic()
    # Into a file of its own, then renamed: several servers may start at once.
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        built = Path(folder) / path.name
        run_compiler(compiler, level, "-o", str(built))
        os.replace(built, path)
    logger.info("the CPU kernels are built, in %.1f s, and kept: %s", time.monotonic() - started, path)


def find_compiler() -> str:
    """CXX, else the first that is here. Raises Unavailable."""
    compiler = os.environ.get("CXX") or next(filter(shutil.which, _COMPILERS), None)
    if compiler is None:
        raise Unavailable(f"there is no C++ compiler ({', '.join(_COMPILERS)})")
    return compiler


def run_compiler(compiler: str, level: str, *options: str) -> None:
    """The kernels of `level`, compiled with more options. Raises Unavailable for errors; warnings are for developers,
    who see them as errors."""
    features = [f"-m{feature.replace('_', '')}" for feature in LEVELS[level]]
    command = [compiler, *_FLAGS, *_WARNINGS, *features, str(_FOLDER / "blocks.cpp"), *options]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{compiler} could not build them: {error}") from error
    lines = result.stderr.splitlines()
    if result.returncode:
        reason = next((line for line in lines if "error" in line), result.stderr[:200])
        raise Unavailable(f"{compiler} could not build them: {reason}")
    for line in lines:
        logger.debug("%s: %s", compiler, line)


def processor_features() -> frozenset[str]:
    if platform.machine() not in ("x86_64", "AMD64"):
        return frozenset()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.split(":")[1].split() for line in lines if line.startswith("flags")), ()))
