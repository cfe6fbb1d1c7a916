"""`python -m swarm demo`: the main job on one machine, from start to the bill."""

import argparse
import tempfile
import time

from swarm.cli.ledger.bill import own_payments, print_payments
from swarm.cli.ledger.book import verdict
from swarm.cli.support.generations import describe
from swarm.cli.support.terminal import run
from swarm.client.client import Client
from swarm.client.local_swarm import LocalSwarm
from swarm.home import client_identity
from swarm.market.ledger.audit import audit
from swarm.market.ledger.ledger import Ledger
from swarm.market.ledger.opening import open_ledger
from swarm.wire.formats.amounts import CREDIT, format_amount

PROMPTS = ("The capital of France is", "Once upon a time, in a forest,")
DEPOSIT = CREDIT  # in the client's account
STAKE = "1"  # credits, of each server: more than its clients look for, whatever blocks it has
SETTLE_EVERY_S = 1.0
PATIENCE_S = 15.0  # for servers to settle


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m swarm demo",
        description="Start servers on this machine, generate through them, pay them, and stop them. The ledger is in "
        "a folder of its own, and gone afterwards.",
    )
    parser.add_argument("--blocks", nargs="+", default=["0:10", "10:20", "20:30"], metavar="START:STOP")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--max-new-tokens", type=int, default=48, metavar="N")
    return run(parser, arguments, _demo)


def _demo(args: argparse.Namespace) -> None:
    print(f"Starting {len(args.blocks)} servers on this machine ...", flush=True)
    with tempfile.TemporaryDirectory(prefix="swarm-demo-") as folder:
        ledger = open_ledger(folder, client_identity())
        ledger.mint(ledger.address, DEPOSIT)
        # One thread each: the hops of a chain take turns, and on a small machine their threads would only collide.
        options = {"dtype": args.dtype, "threads": 1, "ledger": folder, "stake": STAKE, "settle_every": SETTLE_EVERY_S}
        with LocalSwarm("demo", args.blocks, **options) as local:
            for server in local.servers:
                print(f"  blocks {server.blocks[0]}:{server.blocks[1]}  peer {server.peer_id}  port {server.port}")
            with Client("demo", local.peers, ledger=folder) as client:
                for prompt in PROMPTS:
                    _generate(client, prompt, args.max_new_tokens)
            _show_bill(ledger)
        ledger.shut()


def _generate(client: Client, prompt: str, max_new_tokens: int) -> None:
    print(f"\n{prompt}", end="", flush=True)
    stream = client.stream(prompt, max_new_tokens=max_new_tokens)
    for piece in stream:
        print(piece, end="", flush=True)
    print(f"\n\n{describe(stream.generation)}")


def _show_bill(ledger: Ledger) -> None:
    """Who was paid, once it is settled, and what an audit of the whole book says."""
    deadline, payments = time.monotonic() + PATIENCE_S, own_payments(ledger)
    while not all(payment.is_settled for payment in payments) and time.monotonic() < deadline:
        time.sleep(0.2)
        payments = own_payments(ledger)
    print(f"\nThe bill, in a ledger where this client had {format_amount(DEPOSIT)} credit:\n")
    print_payments(payments)
    print(f"Audit of the book: {verdict(audit(ledger))}")
