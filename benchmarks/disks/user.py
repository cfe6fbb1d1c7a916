"""A client under observation: one generation that goes on, if wanted, and short ones, one after the other, until
standard input closes. It prints what it met, a JSON object a line; times are the system's monotonic seconds."""

import json
import sys
import threading
import time

import swarm
from swarm.market.channel.vouchers import Voucher

PROMPT = "The capital of France is"
LONG_TOKENS, SHORT_TOKENS = 6_000, 12
PAUSE_S = 0.5


def tell(**event: object) -> None:
    print(json.dumps(event), flush=True)


def go_on(client: swarm.Client, stop: threading.Event) -> None:
    """A long generation: how long its tokens were waited for at most, and how it ended."""
    worst_s, last, error, tokens = 0.0, None, "", 0
    try:
        stream = client.stream(PROMPT, max_new_tokens=LONG_TOKENS, ignore_eos=True)
        for _ in stream:
            now = time.monotonic()
            if last is None:
                tell(event="begun")
            worst_s, last, tokens = max(worst_s, now - (last or now)), now, tokens + 1
            if stop.is_set():
                break
        stream.close()
    except swarm.SwarmError as failure:
        error = f"{type(failure).__name__}: {failure}"
    tell(event="long", worst_s=worst_s, error=error, pieces=tokens)


def note_vouchers() -> dict[bytes, int]:
    """What this client has signed, by channel, kept up to date."""
    signed, sign = {}, Voucher.sign

    def noted(voucher: Voucher, *identity: object) -> object:
        signed[voucher.channel] = max(voucher.amount, signed.get(voucher.channel, 0))
        return sign(voucher, *identity)

    Voucher.sign = noted
    return signed


def main() -> None:
    options = json.loads(sys.argv[1])
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    patience = {"busy_timeout_s": 1.0, "coverage_timeout_s": 1.0}
    client = swarm.Client(
        "demo", options["peers"], ledger=options["ledger"], audit="off", allow_unstaked=True, **patience
    )
    threads, signed = [], note_vouchers()
    if options["long"]:
        threads.append(threading.Thread(target=go_on, args=(client, stop)))
        threads[0].start()
    tell(event="ready")
    while not stop.is_set():
        began, error, cost = time.monotonic(), "", 0
        try:
            cost = client.generate(PROMPT, max_new_tokens=SHORT_TOKENS, ignore_eos=True).cost
        except Exception as failure:  # what a user would see, tracebacks too
            error = f"{type(failure).__name__}: {failure}"
        tell(event="try", began=began, ended=time.monotonic(), error=error, cost=cost,
             signed=sum(signed.values()))  # fmt: skip
        stop.wait(PAUSE_S)
    for thread in threads:
        thread.join(30)
    if options["long"]:  # one that is paid up, after one that was broken off
        client.generate(PROMPT, max_new_tokens=SHORT_TOKENS, ignore_eos=True)
    client.close()
    tell(event="closed", signed=sum(signed.values()))


if __name__ == "__main__":
    main()
