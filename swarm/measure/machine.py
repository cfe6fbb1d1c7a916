"""What computed the figures. Imports nothing heavy."""

import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

FLAGS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8", "f16c", "fma")  # that kernels ask for
_PACKAGES = ("torch", "transformers")


def machine() -> dict[str, object]:
    """Processor, cores, memory, versions."""
    about = _cpuinfo()
    known = about.get("flags", "").split()
    return {
        "processor": about.get("model name", platform.processor() or "unknown"),
        "flags": [flag for flag in FLAGS if flag in known],
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
    }


def _cpuinfo() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def described(known: Mapping[str, object]) -> dict[str, object]:
    """What `machine` says, in two lines for people."""
    return {
        "machine": f"{known['processor']}, {known['cores']} cores, {known['memory_gib']} GiB, {known['system']}",
        "versions": ", ".join(f"{name} {known[name]}" for name in ("python", *_PACKAGES)),
    }
