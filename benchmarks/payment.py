"""What payment costs in time, and what either side can lose.

    python benchmarks/payment.py [--rounds 24] [--kills 50] [--only overhead kills]

overhead: three hops, the demo model, one compute thread a process; sessions that are paid and sessions that are not, in
turn. The ratio of their times a token is what payment costs: vouchers, their checks, and their keeping on disk. The
client audits nothing.

kills: a paid swarm of three servers, and `kill -9` at random moments of a generation, in turn of the client and of a
random server, which then starts again with what it kept. After each, what either side has lost:
  server  worth of what it computed, by its own bills, that no voucher covers
  client  what was settled beyond the worth of the tokens that it had
Neither may exceed the credit limit of 64 tokens. In the end everything must be settled, and the book's audit clean.

The exit status is 1 if somebody lost more than the limit.
"""

import harness.needs  # noqa: F401 - first: it says what is missing

import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

import torch

import swarm
from harness.report import Report, make_parser, print_table, prompt_tokens
from swarm.client.local_swarm import LocalServer
from swarm.home import client_identity
from swarm.market.channel.payment_store import PaymentStore
from swarm.market.ledger.audit import audit
from swarm.market.ledger.ledger import Ledger
from swarm.market.ledger.opening import ledger_file, open_ledger
from swarm.wire.formats.amounts import CREDIT
from swarm.wire.formats.quotes import Price, Quote
from swarm.wire.identity import address_of

BLOCKS = ["0:10", "10:20", "20:30"]
PRICE = Price(prefill=50, decode=1000)
SETTLE_EVERY_S = 0.3
SETTLED_S = 1.5  # by when a server has settled what it holds
PROMPT, NEW_TOKENS = 24, 60
CLIENT = """
import json, sys, swarm
peers, ledger, prompt, count = json.loads(sys.argv[1])
with swarm.Client("demo", peers, ledger=ledger, audit="off", dtype="float32") as client:
    stream = client.stream(prompt, max_new_tokens=count, ignore_eos=True)
    print("ready", flush=True)
    for piece in stream:
        print(len(stream.generation.token_ids), flush=True)
"""


def measure_overhead(folder: str, rounds: int, tokens: int, quant: str) -> dict[str, object]:
    """Time a token of the same servers when they are paid, and when they work for nothing, in turn.

    They post no price; a priority fee makes a session a paid one. Two swarms could not be compared: two equal ones
    differ by more than payment costs.
    """
    options = {"blocks": BLOCKS, "quant": quant, "threads": 1, "ledger": folder, "price": 0, "prefill_price": 0}
    with (
        swarm.LocalSwarm("demo", **options) as local,
        swarm.Client("demo", local.peers, ledger=folder, allow_unstaked=True, audit="off") as client,
    ):
        prompt = prompt_tokens(32, 0)

        def mean_s(fee: int) -> float:
            out = client.generate(prompt, max_new_tokens=tokens, ignore_eos=True, priority_fee=fee)
            assert (out.cost > 0) == (fee > 0)
            return statistics.fmean(out.step_latencies_s)

        pairs = []
        for number in range(rounds + 1):
            order = (PRICE.decode, 0) if number % 2 else (0, PRICE.decode)
            found = {fee: mean_s(fee) for fee in order}
            pairs.append((found[PRICE.decode], found[0]))
    pairs = pairs[1:]  # the first warms up
    ratios = [with_s / without_s for with_s, without_s in pairs]
    return {
        "quant": quant,
        "paid ms a token": 1000 * statistics.median(with_s for with_s, _ in pairs),
        "free ms a token": 1000 * statistics.median(without_s for _, without_s in pairs),
        "time added %": 100 * (statistics.median(ratios) - 1),
        "quartiles %": [round(100 * (one - 1), 1) for one in statistics.quantiles(ratios, n=4)],
        "rounds": rounds,
    }


class Trials:
    """Kills, and what they cost whom."""

    def __init__(self, local: swarm.LocalSwarm, folder: str, ledger: Ledger, rng: random.Random):
        self._local, self._folder, self._ledger, self._rng = local, folder, ledger, rng
        self.credit = Quote(ledger.id, price=PRICE).credit(PRICE, 10)

    def kill_client(self, number: int) -> dict[str, object]:
        """A client in a process of its own, some tokens into its generation."""
        before, billed = self._earned(), self._billed()
        prompt, seen, last = prompt_tokens(PROMPT, number), 0, self._rng.randint(1, NEW_TOKENS - 1)
        arguments = json.dumps([self._local.peers, self._folder, prompt, NEW_TOKENS])
        process = subprocess.Popen([sys.executable, "-c", CLIENT, arguments], stdout=subprocess.PIPE, text=True)
        pause_s = self._rng.uniform(0, 0.01)
        for line in process.stdout:
            seen = int(line) if line.strip().isdigit() else seen
            if seen >= last:
                time.sleep(pause_s)
                process.send_signal(signal.SIGKILL)
                break
        seen = max([seen, *(int(line) for line in process.stdout if line.strip().isdigit())])
        process.wait()
        # Its last token may have arrived, and not been printed any more.
        return self._lost("client", before, billed, dict.fromkeys(before, _worth(seen + 1)))

    def kill_server(self, number: int) -> dict[str, object]:
        """A random server, while this process generates, which waits for it to come back."""
        before, billed = self._earned(), self._billed()
        victim = self._rng.choice(self._local.servers)
        with swarm.Client("demo", self._local.peers, ledger=self._folder, audit="off") as client:
            stream = client.stream(prompt_tokens(PROMPT, number), max_new_tokens=NEW_TOKENS, ignore_eos=True)
            last, restarted = self._rng.randint(1, NEW_TOKENS - 10), None
            for _ in stream:
                if restarted is None and len(stream.generation.token_ids) >= last:
                    victim.kill()
                    restarted = threading.Thread(target=self._local.restart, args=(victim,))
                    restarted.start()
            restarted.join()
            got: dict[str, int] = {}
            for payment in stream.generation.payments:
                got[payment.peer_id] = got.get(payment.peer_id, 0) + payment.amount
        return self._lost("server", before, billed, got)

    def _lost(self, who: str, before: dict[str, int], billed: dict[str, int], got: dict[str, int]) -> dict[str, object]:
        """got: worth of what the client has had, by peer."""
        time.sleep(SETTLED_S)
        earned, worked = self._earned(), self._billed()
        paid = {peer: earned[peer] - before[peer] for peer in before}
        if who == "server":  # whose own bill is gone with it
            worked = {peer: max(worked[peer], billed[peer] + got.get(peer, 0)) for peer in worked}
        return {
            "killed": who,
            "server lost": max(max(worked[peer] - billed[peer] - paid[peer], 0) for peer in paid),
            "client lost": max(max(paid[peer] - got.get(peer, 0), 0) for peer in paid),
        }

    def _earned(self) -> dict[str, int]:
        return {one.peer_id: self._ledger.account(address_of(one.peer_id)).available for one in self._local.servers}

    def _billed(self) -> dict[str, int]:
        """Worth of all sessions that are over, by the servers' own account. That of a killed server is lost with it."""
        return {one.peer_id: _bills(one) for one in self._local.servers}


def _bills(server: LocalServer) -> int:
    with closing(PaymentStore(server.home / "payments" / f"{server.peer_id}.db")) as store:
        return sum(bill.amount for bill in store.bills())


def _worth(new_tokens: int) -> int:
    return PRICE.due(10, PROMPT, new_tokens - 1)


def unsettled(local: swarm.LocalSwarm, ledger: Ledger) -> int:
    """Nano-credits of vouchers that servers hold and have not settled."""
    rest = 0
    for server in local.servers:
        with closing(PaymentStore(server.home / "payments" / f"{server.peer_id}.db")) as store:
            for signed in store.vouchers(ledger.id):
                rest += max(signed.voucher.amount - ledger.channel(signed.voucher.channel).paid, 0)
    return rest


def measure_kills(folder: str, ledger: Ledger, kills: int, seed: int) -> dict[str, object]:
    options = {"dtype": "float32", "threads": 1, "ledger": folder, "price": f"{PRICE.decode}n", "stake": "1",
               "settle_every": SETTLE_EVERY_S, "idle_timeout": 5, "record_life": 6}  # fmt: skip
    with swarm.LocalSwarm("demo", BLOCKS, **options) as local:
        trials = Trials(local, folder, ledger, random.Random(seed))
        outcomes = []
        for number in range(kills):
            outcomes.append(trials.kill_server(number) if number % 2 else trials.kill_client(number))
            print(number, outcomes[-1], flush=True)
        with swarm.Client("demo", local.peers, ledger=folder, audit="off") as client:
            client.generate(prompt_tokens(PROMPT, kills), max_new_tokens=NEW_TOKENS, ignore_eos=True)
        time.sleep(SETTLED_S)
        rest = unsettled(local, ledger)
    report = audit(ledger_file(Path(folder)))
    return {
        "kills": kills,
        "credit limit": trials.credit,
        **{f"{who} lost at most": max(one[f"{who} lost"] for one in outcomes) for who in ("server", "client")},
        **{f"{who} lost, median": statistics.median(one[f"{who} lost"] for one in outcomes)
           for who in ("server", "client")},
        "unsettled in the end": rest,
        "book is clean": report.holds,
    }  # fmt: skip


def main() -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=24, help="paid and not (default: 24)")
    parser.add_argument("--tokens", type=int, default=128, help="in a generation (default: 128)")
    parser.add_argument("--kills", type=int, default=50, help="(default: 50)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=("overhead", "kills"), default=("overhead", "kills"))
    args = parser.parse_args()
    report = Report(args)
    torch.set_num_threads(1)
    result: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as home:
        os.environ["SWARM_HOME"], folder = home, str(Path(home) / "ledger")
        ledger = open_ledger(folder, client_identity())
        ledger.mint(client_identity().address, 1000 * CREDIT)
        if "overhead" in args.only:
            result["overhead"] = [measure_overhead(folder, args.rounds, args.tokens, one) for one in ("none", "int4")]
            print_table(result["overhead"])
        if "kills" in args.only:
            result["kills"] = measure_kills(folder, ledger, args.kills, args.seed)
            print_table([result["kills"]])
        ledger.shut()
    report.save("payment", report.earlier("payment") | result)
    kills = result.get("kills", {"server lost at most": 0, "client lost at most": 0, "credit limit": 0})
    return int(max(kills["server lost at most"], kills["client lost at most"]) > kills["credit limit"])


if __name__ == "__main__":
    sys.exit(main())
