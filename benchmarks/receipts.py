"""What receipts cost: a hop that signs, a client that checks, and a chain of three hops that does both.

    python benchmarks/receipts.py

The first two are the receipts' own code, run alone on one thread: for every token a digest of what came in and went
out, for every 32 tokens two Merkle roots, a sketch, and a signature; the client checks signatures, chains and links.
The third compares two swarms of real processes, side by side, one generation of each in turn: the ordinary one, and one
whose servers sign nothing and whose client asks for nothing.
"""

import harness.needs  # noqa: F401 - first: it says what is missing

import gc
import statistics
import sys
import time

import torch

import swarm
from harness.report import Report, make_parser, print_table, prompt_tokens
from swarm.verify.receipts.checking import ChainReceipts
from swarm.verify.receipts.writing import ReceiptWriter
from swarm.wire import codec
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.receipts import NOTHING, SignedReceipt, Terms
from swarm.wire.identity import Identity
from swarm.wire.session_id import new_session_id

CHUNK = 32
HOPS = 3


def hop_terms(identity: Identity, hop: int, session: bytes) -> Terms:
    numerics = "cpu-0123456789abcdef-torch2.13.0-int4-bfloat16"
    return Terms(session, 1, identity.address, hop, hop + 1, NOTHING, "int4/bfloat16", numerics, pb.BFLOAT16, NOTHING)


def signed_chain(tokens: int, hidden_size: int) -> tuple[list[list[codec.Rows]], list[Identity]]:
    """Rows between HOPS hops, [hop][token], and the hops."""
    rows = [
        [codec.to_rows(torch.randn(1, hidden_size), torch.bfloat16) for _ in range(tokens)] for _ in range(HOPS + 1)
    ]
    return rows, [Identity() for _ in range(HOPS)]


def measure_hop(tokens: int, hidden_size: int) -> dict[str, object]:
    """Microseconds a token on one hop: digests, which a hop without receipts makes too, and all that is signed."""
    rows, identities = signed_chain(tokens, hidden_size)
    hidden = [row.tensor() for row in rows[1]]
    messages = [row.message() for row in rows[0]]
    started = time.perf_counter()
    for message, output in zip(messages, hidden, strict=True):
        codec.read_rows(message, (1, hidden_size), torch.bfloat16)
        codec.to_rows(output, torch.bfloat16).message()
    digests_us = (time.perf_counter() - started) / tokens * 1e6
    before = [[] for _ in range(tokens)]
    writer = ReceiptWriter(identities[0], hop_terms(identities[0], 0, new_session_id()), lambda signed: None)
    for token in range(tokens):
        writer.record(token, rows[0][token], rows[1][token])
        if token % CHUNK == CHUNK - 1:
            writer.seal()
            before[token] = writer.take()
    times = []
    session = SignedReceipt.decode(before[CHUNK - 1][0]).receipt.terms.session
    writer = ReceiptWriter(identities[1], hop_terms(identities[1], 1, session), lambda signed: None)
    for token in range(tokens):
        began = time.perf_counter()
        writer.record(token, rows[1][token], rows[2][token])
        if token % CHUNK == CHUNK - 1:
            writer.seal(before[token])
        writer.take()
        times.append((time.perf_counter() - began) * 1e6)
    chunks = [sum(times[start : start + CHUNK]) / CHUNK for start in range(0, tokens, CHUNK)]
    return {
        "hidden size": hidden_size,
        "digests us": digests_us,
        "signing us": statistics.median(chunks),
        "of a chunk's last token us": statistics.median(times[CHUNK - 1 :: CHUNK]),
    }


def measure_client(tokens: int, hidden_size: int) -> dict[str, object]:
    """How many tokens of a chain of HOPS hops a client can check in a second on one core."""
    rows, identities = signed_chain(tokens, hidden_size)
    session = new_session_id()
    terms = [hop_terms(identity, hop, session) for hop, identity in enumerate(identities)]
    writers = [ReceiptWriter(*pair, lambda signed: None) for pair in zip(identities, terms, strict=True)]
    arriving = []
    for token in range(tokens):
        carried = []
        for hop, writer in enumerate(writers):
            writer.record(token, rows[hop][token], rows[hop + 1][token])
            if token % CHUNK == CHUNK - 1:
                writer.seal(carried)
            carried += writer.take()
        arriving.append(carried)
    receipts = ChainReceipts()
    hops = [receipts.expect(one, identity.peer_id) for one, identity in zip(terms, identities, strict=True)]
    gc.collect()
    gc.freeze()  # to look through all that this process has imported would take longer than what is measured
    started = time.process_time()
    for token, carried in enumerate(arriving):
        receipts.sent(token, rows[0][token].digests)
        receipts.received(token, rows[-1][token].digests[0], hops[-1])
        for data in carried:
            receipts.add(data)
    elapsed_s = time.process_time() - started
    gc.unfreeze()
    assert not receipts.faults and len(receipts.all()) == HOPS * tokens // CHUNK, receipts.faults
    return {"hops": HOPS, "us a token": elapsed_s / tokens * 1e6, "tokens/s a core": tokens / elapsed_s}


def measure_chain(rounds: int, tokens: int, quant: str) -> dict[str, object]:
    """Tokens a second of three hops with and without, taking turns."""
    options = {"blocks": ["0:10", "10:20", "20:30"], "quant": quant, "threads": 1}
    with (
        swarm.LocalSwarm("demo", **options) as signed,
        swarm.LocalSwarm("demo", **options, no_receipts=True) as unsigned,
        swarm.Client("demo", peers=signed.peers, audit="off") as with_client,
        swarm.Client("demo", peers=unsigned.peers, receipts=False) as without_client,
    ):
        prompt = prompt_tokens(32, 0)

        def latencies(client: swarm.Client) -> list[float]:
            return client.generate(prompt, max_new_tokens=tokens, ignore_eos=True).step_latencies_s

        pairs = []
        for number in range(rounds + 1):
            turns = [lambda: latencies(with_client), lambda: latencies(without_client)]
            order = turns if number % 2 else turns[::-1]
            found = [statistics.fmean(turn()) for turn in order]
            pairs.append(found if number % 2 else found[::-1])
        pairs = pairs[1:]  # the first warms up
    ratios = [with_s / without_s for with_s, without_s in pairs]
    return {
        "quant": quant,
        "with tokens/s": 1 / statistics.median(with_s for with_s, _ in pairs),
        "without tokens/s": 1 / statistics.median(without_s for _, without_s in pairs),
        "time added %": 100 * (statistics.median(ratios) - 1),
        "quartiles %": [round(100 * (one - 1), 1) for one in statistics.quantiles(ratios, n=4)],
        "rounds": rounds,
    }


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=40, help="of both swarms (default: 40)")
    parser.add_argument("--tokens", type=int, default=128, help="in a generation (default: 128)")
    parser.add_argument("--quick", action="store_true", help="a few rounds only")
    args = parser.parse_args()
    report = Report(args)
    torch.set_num_threads(1)
    rounds = 4 if args.quick else args.rounds
    result = {}
    result["hop"] = [measure_hop(32 * CHUNK, hidden_size) for hidden_size in (576, 4096, 8192)]
    print_table(result["hop"])
    result["client"] = measure_client(64 * CHUNK, 576)
    print_table([result["client"]])
    result["chain"] = [measure_chain(rounds, args.tokens, quant) for quant in ("int4", "none")]
    print_table(result["chain"])
    report.save("receipts", result)


if __name__ == "__main__":
    sys.exit(main())
