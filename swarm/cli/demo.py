"""`python -m swarm demo`: the main job on one machine, from start to the bill."""

import argparse
import json
import tempfile
import time
from collections.abc import Callable

from swarm import shown
from swarm.cli.ledger.bill import own_payments, payment_as_json, print_payments
from swarm.cli.ledger.book import verdict
from swarm.cli.parsers.demo import make_parser
from swarm.cli.support.generations import describe
from swarm.cli.support.terminal import run
from swarm.client.client import Client
from swarm.client.local_swarm import LocalSwarm
from swarm.home import client_identity
from swarm.market.channel.trail import Payment
from swarm.market.ledger.audit import audit
from swarm.market.ledger.ledger import Ledger
from swarm.market.ledger.opening import open_ledger
from swarm.results import Generation
from swarm.wire.formats.amounts import CREDIT, format_credits

PROMPTS = ("The capital of France is", "Once upon a time, in a forest,")
DEPOSIT = CREDIT  # in the client's account
STAKE = "1"  # credits, of each server: more than its clients look for, whatever blocks it has
SETTLE_EVERY_S = 1.0
PATIENCE_S = 15.0  # for servers to settle


def main(arguments: list[str]) -> int:
    return run(make_parser(), arguments, _demo)


def _demo(args: argparse.Namespace) -> None:
    say = _nothing if args.json else _say
    servers = shown.count(len(args.blocks), "server")
    say(f"Starting {servers} on this machine: about 10 s, half a minute the first time ...\n")
    with tempfile.TemporaryDirectory(prefix="swarm-demo-") as folder:
        ledger = open_ledger(folder, client_identity())
        ledger.mint(ledger.address, DEPOSIT)
        # One thread each: the hops of a chain take turns, and on a small machine their threads would only collide.
        options = {"dtype": args.dtype, "threads": 1, "ledger": folder, "stake": STAKE, "settle_every": SETTLE_EVERY_S}
        with LocalSwarm("demo", [f"{start}:{stop}" for start, stop in args.blocks], **options) as local:
            for server in local.servers:
                say(f"  blocks {server.blocks[0]}:{server.blocks[1]}  peer {server.peer_id}  port {server.port}\n")
            with Client("demo", local.peers, ledger=folder) as client:
                say("Generating from two prompts, a few seconds each:\n")
                generations = [_generate(client, prompt, args.max_new_tokens, say) for prompt in PROMPTS]
            say("\nWaiting until the servers have settled what they are owed: about 2 s ...\n")
            payments, report = _settled(ledger), audit(ledger)
            say(f"Stopping the {servers}: about 2 s ...\n")
        ledger.shut()
    if args.json:
        bill = [payment_as_json(payment) for payment in payments]
        answers = [generation.to_dict() for generation in generations]
        print(json.dumps({"generations": answers, "bill": bill, "audit": verdict(report)}))
        return
    print(f"\nThe bill, in a ledger where this client had {format_credits(DEPOSIT)}:\n")
    print_payments(payments)
    print(f"Audit of the book: {verdict(report)}")


def _say(text: str) -> None:
    print(text, end="", flush=True)


def _nothing(text: str) -> None:
    """Of what goes on: only the end counts."""


def _generate(client: Client, prompt: str, max_new_tokens: int, say: Callable[[str], None]) -> Generation:
    say(f"\n{prompt}")
    stream = client.stream(prompt, max_new_tokens=max_new_tokens)
    for piece in stream:
        say(str(piece))
    say(f"\n\n{describe(stream.generation)}\n")
    return stream.generation


def _settled(ledger: Ledger) -> list[Payment]:
    """Who was paid, once it is settled."""
    deadline, payments = time.monotonic() + PATIENCE_S, own_payments(ledger)
    while not all(payment.is_settled for payment in payments) and time.monotonic() < deadline:
        time.sleep(0.2)
        payments = own_payments(ledger)
    return payments
