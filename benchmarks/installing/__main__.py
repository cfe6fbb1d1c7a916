"""The wheel, installed by its name into an empty environment in three ways: what comes over the network, how long it
takes, which torch is there afterwards; and then one command to serve and one to generate.

    python benchmarks/installing --torch FOLDER [--ways pip pipx uv]

Builds the wheel and puts it into an index of its own on this machine; everything else comes from the package index, by
way of a proxy that counts, and cuts the connection once a step has taken more than `--limit` megabytes: a CUDA build of
torch is far beyond that. FOLDER holds a wheel of torch's CPU build. A server is started three times: for the first
time, when the kernels are built; again; and where there is no compiler. The exit status is 1 if a step failed.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import harness.needs  # noqa: F401 - first: it says what is missing

from harness.report import Report, make_parser, print_table
from installing.network import CountingProxy, index_with

ROOT = Path(__file__).parents[2]
READY_S = 180.0
PYTHON = Path(sys.base_prefix) / "bin" / "python3"
# As docs/install.md has them. No CUDA build answers to the pin of torch.
TORCH = "torch==2.13.0+cpu"
ASKED = "get them with: "  # what a server without the demo's weights says; the command is then run
WAYS: dict[str, list[str]] = {
    "pip": [
        "python3 -m venv env",
        f"env/bin/pip install {TORCH}",
        "env/bin/pip install swarm-inference",
    ],
    "pipx": [f"pipx install --preinstall {TORCH} swarm-inference"],
    "uv": [f"uv tool install --with {TORCH} swarm-inference"],
}
PROGRAM = {"pip": "env/bin/swarm", "pipx": ".local/bin/swarm", "uv": ".local/bin/swarm"}
ASK_TORCH = "import torch, sys; print(torch.__version__, torch.version.cuda, sys.prefix)"


@dataclass
class Trial:
    """One way, in a home of its own. rows: what each step took."""

    way: str
    home: Path
    environment: dict[str, str]
    proxy: CountingProxy
    rows: list[dict[str, object]] = field(default_factory=list)

    def run(self, command: str) -> bool:
        """A step of installing; whether it went well."""
        self.proxy.start_over()
        started = time.monotonic()
        done = subprocess.run(command, shell=True, cwd=self.home, env=self.environment, capture_output=True, text=True)
        took_s = time.monotonic() - started
        self._note(command, took_s, done.returncode == 0, self.proxy.received / 1e6)
        if done.returncode:
            print(done.stdout[-2000:], done.stderr[-2000:], sep="\n", file=sys.stderr)
        return done.returncode == 0

    def command_for_weights(self) -> str:
        """That a server says which finds none."""
        done = subprocess.run([self._program, "server"], env=self.environment, capture_output=True, text=True)
        (line,) = done.stderr.splitlines()
        return line.partition(ASKED)[2]

    def serve(self, what: str, **environment: str) -> bool:
        """Start a server, generate, end it."""
        started = time.monotonic()
        server = subprocess.Popen(
            [self._program, "server", "--quant", "int4", "--json"],
            cwd=self.home, env=self.environment | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        try:
            ready_s = self._until_ready(server, started)
            self._note(f"swarm server ({what})", ready_s or READY_S, ready_s is not None)
            return ready_s is not None and self._generate()
        finally:
            server.send_signal(signal.SIGINT)
            errors = server.communicate()[1]
            print("\n".join(f"    {line}" for line in errors.splitlines()))

    def _until_ready(self, server: "subprocess.Popen[str]", started: float) -> float | None:
        """Seconds; None if it ended before."""
        assert server.stdout
        for line in server.stdout:
            if json.loads(line)["event"] == "ready":
                return time.monotonic() - started
        return None

    def _generate(self) -> bool:
        command = [self._program, "generate", "The capital of France is", "--max-new-tokens", "8"]
        started = time.monotonic()
        done = subprocess.run(command, cwd=self.home, env=self.environment, capture_output=True, text=True)
        is_right = "Paris" in done.stdout
        self._note('swarm generate "The capital of France is"', time.monotonic() - started, is_right)
        return is_right

    @property
    def _program(self) -> str:
        return str(self.home / PROGRAM[self.way])

    def torch(self) -> dict[str, object]:
        """Which one is there, and the size of the environment."""
        python = Path(self._program).read_text().splitlines()[0].removeprefix("#!").removesuffix(" -E")  # pipx's
        version, cuda, prefix = subprocess.check_output([python, "-c", ASK_TORCH], text=True).split()
        size = subprocess.check_output(["du", "-sm", prefix], text=True).split()[0]
        return {"way": self.way, "torch": version, "CUDA": cuda, "environment MB": int(size)}

    def _note(self, step: str, took_s: float, is_fine: bool, received_mb: float | None = None) -> None:
        received = "" if received_mb is None else round(received_mb, 1)
        shown = step.replace(str(self.home), "~")
        row = {"way": self.way, "step": shown, "s": round(took_s, 2), "MB": received, "fine": is_fine}
        self.rows.append(row)
        print(json.dumps(row), flush=True)


def environment(home: Path, tools: Path, proxy: str, index: str, torch: str) -> dict[str, str]:
    """Of a user who has just come: no caches, and no settings but where the wheel and torch are. torch: an index like
    PyTorch's own."""
    kept = {name: os.environ[name] for name in ("SSL_CERT_FILE", "PIP_CERT", "LANG") if name in os.environ}
    return kept | {
        "HOME": str(home), "PATH": f"{tools}:{home}/.local/bin:{PYTHON.parent}:/usr/bin:/bin",
        "https_proxy": proxy, "HTTPS_PROXY": proxy, "no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1",
        "PIP_CONFIG_FILE": os.devnull, "PIP_EXTRA_INDEX_URL": f"{index} {torch}", "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "UV_INDEX": index, "UV_FIND_LINKS": f"{torch}torch/", "UV_NO_CONFIG": "1",
        "UV_PYTHON": str(PYTHON), "UV_PYTHON_DOWNLOADS": "never", "PIPX_DEFAULT_PYTHON": str(PYTHON),
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip


def tools_in(folder: Path, ways: Sequence[str]) -> Path:
    """pipx and uv, where they are asked for, each without the other: pipx would use uv."""
    for name in sorted(set(ways) - {"pip"}):
        subprocess.run([PYTHON, "-m", "venv", folder / name], check=True)
        subprocess.run([folder / name / "bin" / "pip", "install", "--quiet", name], check=True)
    return folder


def without_compiler(folder: Path) -> dict[str, str]:
    """A PATH with no compiler on it, and no kernels built before."""
    folder.mkdir()
    (folder / "python3").symlink_to(PYTHON)
    return {"PATH": str(folder), "SWARM_KERNEL_CACHE": str(folder / "kernels")}


def trial(way: str, base: Path, index: str, torch: str, limit_bytes: int) -> Trial:
    home, proxy = base / way, CountingProxy(limit_bytes)
    home.mkdir()
    tools = base / "tools" / way / "bin"
    one = Trial(way, home, environment(home, tools, proxy.url, index, torch), proxy)
    if all(one.run(step) for step in WAYS[way]) and one.run(one.command_for_weights()):
        print(one.torch(), flush=True)
        one.serve("for the first time, kernels are built")
        one.serve("again")
        one.serve("no compiler", **without_compiler(home / "bare"))
    return one


def main() -> int:
    parser = make_parser(__doc__ or "")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--torch", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--limit", type=float, default=400.0, metavar="MB")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="installing-", ignore_cleanup_errors=True) as name:
        base = Path(name)
        subprocess.run([sys.executable, ROOT / "tests" / "packaged.py", base], check=True)
        tools_in(base / "tools", args.ways)
        (wheel,) = base.glob("*.whl")
        (torch,) = args.torch.glob("torch-2.13.0+cpu-*.whl")
        with index_with(wheel, base / "index") as index, index_with(torch, base / "torch") as torch_index:
            trials = []
            for way in args.ways:
                trials.append(trial(way, base, index, torch_index, int(args.limit * 1e6)))
                found = trials[-1].torch() if trials[-1].rows[-1]["fine"] else {}
                trials[-1].rows.append({"way": way, "step": "found", "s": "", "MB": "", "fine": True} | found)
                shutil.rmtree(trials[-1].home)
        rows = [row for one in trials for row in one.rows]
        print_table([{name: row[name] for name in ("way", "step", "s", "MB", "fine")} for row in rows])
        args.torch = "FOLDER"  # where that was, is of no interest
        Report(args).save("installing", {"wheel bytes": wheel.stat().st_size, "rows": rows})
    return 0 if all(row["fine"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
