"""One case, measured on the package that PYTHONPATH leads to: a figure for each line on standard input.

Uses nothing but what is public, so that it runs on any version.
"""

import itertools
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

import swarm

Sample = Callable[[], float]
THREE = ("0:10", "10:20", "20:30")
PROMPT = list(range(1000, 1032))
FEE = 1000  # nano-credits for a token through a block


@contextmanager
def chain(model: str, blocks: tuple[str, ...], client: dict | None = None, **servers: object) -> Iterator[swarm.Client]:
    with (
        swarm.LocalSwarm(model, blocks, threads=1, **servers) as local,
        swarm.Client(model, local.peers, audit="off", **(client or {})) as made,
    ):
        yield made


@contextmanager
def overhead(model: str, blocks: list[str], prompt: list[int], tokens: int) -> Iterator[Sample]:
    """Milliseconds of a token, for each hop, that no hop reports as computing. The client's head is in it."""
    with chain(model, tuple(blocks), dtype="float32") as client:

        def sample() -> float:
            out = client.generate(prompt, max_new_tokens=tokens, ignore_eos=True)
            computing_s = sum(timing.compute_s / timing.steps for timing in out.timings)
            return 1000 * (statistics.fmean(out.step_latencies_s) - computing_s) / len(blocks)

        yield sample


@contextmanager
def speed(quant: str, tokens: int) -> Iterator[Sample]:
    """Milliseconds of a token of two hops, in the second half of a generation."""
    with chain("demo", ("0:15", "15:30"), quant=quant, dtype="bfloat16") as client:

        def sample() -> float:
            out = client.generate(PROMPT * 4, max_new_tokens=tokens, ignore_eos=True)
            return 1000 * statistics.median(out.step_latencies_s[tokens // 2 :])

        yield sample


@contextmanager
def payment(quant: str, tokens: int) -> Iterator[Sample]:
    """Time of a paid token in parts of an unpaid one, on the same servers, one after the other.

    They post no price; what is offered on top makes a session a paid one.
    """
    ledger = str(Path(os.environ["SWARM_HOME"]) / "ledger")
    mint = [sys.executable, "-m", "swarm", "ledger", "mint", "me", "100", "--ledger", ledger]
    subprocess.run(mint, check=True, stdout=subprocess.DEVNULL)
    options = {"ledger": ledger, "allow_unstaked": True}
    with chain("demo", THREE, options, quant=quant, ledger=ledger, price=0, prefill_price=0) as client:

        def token_s(fee: int) -> float:
            paid = {fee_option(client): fee} if fee else {}
            out = client.generate(PROMPT, max_new_tokens=tokens, ignore_eos=True, **paid)
            assert (out.cost > 0) == (fee > 0), out.cost
            return statistics.fmean(out.step_latencies_s)

        orders = itertools.cycle(((FEE, 0), (0, FEE)))

        def sample() -> float:
            seconds = {fee: token_s(fee) for fee in next(orders)}
            return seconds[FEE] / seconds[0]

        yield sample


def fee_option(client: swarm.Client) -> str:
    """What a payment beyond the price is called: it was `bid` once."""
    try:
        client.generate(PROMPT[:1], max_new_tokens=1, priority_fee=0)
    except (TypeError, swarm.InvalidRequest):
        return "bid"
    return "priority_fee"


CASES = {case.__name__: case for case in (overhead, speed, payment)}


def main(case: str, **options: object) -> None:
    torch.set_num_threads(1)
    with CASES[case](**options) as sample:
        sample()  # warms up
        print("ready", flush=True)
        for _ in sys.stdin:
            print(sample(), flush=True)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
