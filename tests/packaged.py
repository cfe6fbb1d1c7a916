"""The wheel: built from the files that belong into it, and looked through.

    python tests/packaged.py FOLDER

It is built in a copy, for a folder in which one was built before hands on files that are gone by now; and with the
setuptools that is here, so that nothing is downloaded.
"""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from email.parser import Parser
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = {"swarm": ROOT / "swarm", "swarm_kernels": ROOT / "kernels" / "swarm_kernels"}
SOURCES = "swarm", "kernels", "pyproject.toml", "README.md", "LICENSE"
NOT_PACKED = {".proto"}  # of which the classes are there
RUBBISH = shutil.ignore_patterns("__pycache__", "*.pyc", "*.egg-info")


def build_wheel(folder: Path) -> Path:
    """A new one, in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="wheel-") as name:
        copy = Path(name) / "tree"
        for source in SOURCES:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, copy / source, ignore=RUBBISH)
            else:
                shutil.copy(ROOT / source, copy / source)
        out = Path(name) / "out"
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
        subprocess.run([*command, "-w", str(out), str(copy)], check=True)
        (built,) = out.glob("*.whl")
        return Path(shutil.copy(built, folder))


def faults(wheel: Path) -> list[str]:
    """What is missing in it, what should not be there, and what its metadata lack."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (info,) = {name.split("/")[0] for name in names if ".dist-info/" in name}
        metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
        scripts = archive.read(f"{info}/entry_points.txt").decode()
    packed = {name for name in names if not name.startswith(f"{info}/")}
    wanted = {
        f"{package}/{file.relative_to(folder).as_posix()}"
        for package, folder in PACKAGES.items()
        for file in folder.rglob("*")
        if file.is_file() and file.suffix not in {".pyc", *NOT_PACKED}
    }
    found = [f"{name} is missing" for name in sorted(wanted - packed)]
    found += [f"{name} does not belong there" for name in sorted(packed - wanted)]
    found += [] if f"-{metadata['Version']}-" in wheel.name else ["its name has another version than its metadata"]
    found += [] if "swarm = swarm.__main__:main" in scripts else ["there is no command `swarm`"]
    return found + ([] if metadata.get_payload() else ["it has no description"])


def main() -> int:
    wheel = build_wheel(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "dist"))
    found = faults(wheel)
    for fault in found:
        print(f"{wheel.name}: {fault}", file=sys.stderr)
    print(f"{wheel}: {wheel.stat().st_size:,} bytes")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
