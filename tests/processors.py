"""The tests of kernels and audits, once for each instruction set that this machine has, and once without a compiler.

`make test-processors`. The C++ kernels are told what to use by SWARM_CPU_KERNELS, oneDNN (torch's products) by
ONEDNN_MAX_CPU_ISA, and torch's own loops by ATEN_CPU_CAPABILITY.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from swarm_kernels.cpu.build import LEVELS, processor_features

FOLDERS = [Path(__file__).parent / name for name in ("kernels", "unit")]  # no test in these starts a server
# The C++ kernels' own tests try every build by themselves, so they run once.
KERNELS = ["test_cpu_*.py"]
ARITHMETIC = ["test_model_kernels.py", "test_quant.py", "test_audit*.py", "test_evidence.py"]


class Processor(NamedTuple):
    """needs: names of /proc/cpuinfo."""

    name: str
    needs: frozenset[str]
    environment: dict[str, str]


def processor(name: str, level: str, onednn: str, aten: str, *more: str) -> Processor:
    environment = {"SWARM_CPU_KERNELS": level, "ONEDNN_MAX_CPU_ISA": onednn, "ATEN_CPU_CAPABILITY": aten}
    return Processor(name, frozenset((*LEVELS[level], *more)), environment)


PROCESSORS = [
    processor("AVX2", "avx2", "AVX2", "avx2"),
    processor("AVX-512", "avx512", "AVX512_CORE", "avx512"),
    processor("AVX-512 with bfloat16", "avx512bf16", "AVX512_CORE_BF16", "avx512"),
    processor("AMX", "avx512bf16", "AVX512_CORE_AMX", "avx512", "amx_tile", "amx_bf16", "amx_int8"),
]


def main() -> int:
    """The exit status: 0 if all passed."""
    failed = [] if passes("C++ kernels", found(KERNELS), {}) else ["C++ kernels"]
    for one in PROCESSORS:
        if missing := one.needs - processor_features():
            print(f"--- {one.name}: not here (no {', '.join(sorted(missing))})", flush=True)
        elif not passes(one.name, found(ARITHMETIC), one.environment):
            failed.append(one.name)
    with tempfile.TemporaryDirectory() as nothing_built:
        environment = {"CXX": os.path.join(nothing_built, "c++"), "SWARM_KERNEL_CACHE": nothing_built}
        if not passes("no compiler", found(ARITHMETIC), environment):
            failed.append("no compiler")
    print(f"--- failed: {', '.join(failed)}" if failed else "--- all passed")
    return 1 if failed else 0


def found(patterns: list[str]) -> list[str]:
    """Test files, however deep they lie. Raises FileNotFoundError for a pattern that none of them has."""
    files = []
    for pattern in patterns:
        matching = sorted(str(file) for folder in FOLDERS for file in folder.rglob(pattern))
        if not matching:
            raise FileNotFoundError(f"no test is called {pattern}")
        files += matching
    return files


def passes(name: str, tests: list[str], environment: dict[str, str]) -> bool:
    words = " ".join(f"{key}={value}" for key, value in environment.items())
    print(f"--- {name} {words}", flush=True)
    started = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--durations=0", "--durations-min=10", *tests]
    status = subprocess.run(command, env=os.environ | environment).returncode
    print(f"    {time.monotonic() - started:.0f} s", flush=True)
    return status == 0


if __name__ == "__main__":
    sys.exit(main())
