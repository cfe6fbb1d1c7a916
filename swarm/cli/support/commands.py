"""Commands that others are told to type."""

import shlex
from collections.abc import Sequence
from pathlib import Path


def serve_command(
    model: str,
    peers: Sequence[str] | None,
    blocks: tuple[int, int] | None,
    secret_file: Path | str | None = None,
    ledger: str | None = None,
) -> str:
    """With which a peer joins. What goes without saying is left out: the demo model, a swarm on this machine, and, for
    None, the blocks."""
    served = ["--blocks", f"{blocks[0]}:{blocks[1]}"] if blocks else []
    return shlex.join(["python", "-m", "swarm.server", *_model(model), *served, *_swarm(peers, secret_file, ledger)])


def generate_command(
    prompt: str, model: str, peers: Sequence[str], secret_file: Path | str | None = None, ledger: str | None = None
) -> str:
    """With which a client uses the swarm. prompt: without quotation marks."""
    options = shlex.join([*_model(model), *_swarm(peers, secret_file, ledger)])
    return f'python -m swarm generate "{prompt}" {options}'  # in quotation marks that all shells take


def _model(model: str) -> list[str]:
    return ["--model", model] if model != "demo" else []


def _swarm(peers: Sequence[str] | None, secret_file: Path | str | None, ledger: str | None) -> list[str]:
    words = ["--peers", *peers] if peers else []
    words += ["--secret-file", str(secret_file)] if secret_file else []
    return words + (["--ledger", ledger] if ledger else [])
