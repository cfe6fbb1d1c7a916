"""What a hop adds to a token beyond its blocks' own compute: network, TLS, digests, checks, scheduling.

    python benchmarks/hop_overhead.py

Real server processes on loopback, one session, float32, one compute thread each. For every chain length the time of
each token is measured at the client, from sending its embedding to holding its last hidden state; what the hops report
as time inside their blocks is subtracted.

Twice: on the demo model, whose blocks sweep 14 MB of weights each through the processor's caches, so that everything
around them runs from cold memory; and on blocks of the same hidden size with next to no weights, where it runs warm.
For comparison, the same bytes through a bare gRPC echo over the same TLS, which sweeps as much memory between two
messages and does nothing else: what no hop built on gRPC for Python can stay below.
"""

import harness.needs  # noqa: F401 - first: it says what is missing

import argparse
import base64
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator

import torch
import uvloop

import swarm
from harness.report import Report, make_parser, print_table
from harness.tiny import tiny_model
from swarm.client.background import wait
from swarm.session.session import Session
from swarm.wire import codec
from swarm.wire import messages_pb2 as pb
from swarm.wire.tls import make_certificate
from swarm.wire.transport import Peer, serve

CHAINS = {
    "demo": {1: ["0:30"], 2: ["0:15", "15:30"], 3: ["0:10", "10:20", "20:30"]},
    "tiny": {1: ["0:3"], 2: ["0:2", "2:3"], 3: ["0:1", "1:2", "2:3"]},
}


async def measure(client: swarm.Client, tokens: int, warm_up: int) -> list[tuple[float, float]]:
    """(seconds at the client, seconds inside blocks) of every token of one session."""
    ends = await client.parts.load_ends()
    session: Session = await client.parts.generator.open_session(1 + warm_up + tokens)
    samples = []
    try:
        await session.forward(0, ends.embed([1]), pb.LAST)
        for position in range(1, warm_up + tokens + 1):
            hidden = ends.embed([position % 1000])
            before = sum(timing.compute_s for timing in session.timings)
            started = time.perf_counter()
            await session.forward(position, hidden, pb.LAST)
            elapsed = time.perf_counter() - started
            samples.append((elapsed, sum(timing.compute_s for timing in session.timings) - before))
    finally:
        session.close()
    return samples[warm_up:]


async def echo_server(sweep_mib: int) -> None:
    """Answers every step with itself and the time it spent reading `sweep_mib` of memory."""
    memory = torch.ones(sweep_mib, 2**18)

    async def session(requests: AsyncIterator[pb.ToServer], context: object) -> AsyncIterator[pb.ToClient]:
        async for message in requests:
            started = time.perf_counter()
            memory.sum()
            message.step.visits.add(compute_us=int((time.perf_counter() - started) * 1e6))
            yield pb.ToClient(result=message.step)

    certificate = make_certificate()
    methods = dict.fromkeys(("session", "push", "status", "deposit", "withdraw", "tender"), session)
    server, port = await serve("127.0.0.1", 0, certificate, 2**24, **methods)
    endpoint = pb.Endpoint(host="127.0.0.1", port=port, certificate=certificate.certificate_der)
    print(base64.b64encode(endpoint.SerializeToString()).decode(), flush=True)
    await server.wait_for_termination()


async def measure_echo(endpoint: pb.Endpoint, tokens: int, warm_up: int) -> list[tuple[float, float]]:
    """The same pairs as `measure`, for the bare echo."""
    peer = Peer(endpoint, 2**24)
    stream = peer.session()
    step = pb.ToServer(step=pb.Step(count=1, hidden=codec.encode(torch.ones(1, 576), torch.float32)))
    samples = []
    for _ in range(warm_up + tokens):
        started = time.perf_counter()
        await stream.write(step)
        answer = await stream.read()
        samples.append((time.perf_counter() - started, answer.result.visits[0].compute_us / 1e6))
    await peer.close()
    return samples[warm_up:]


def echo(sweep_mib: int, tokens: int, warm_up: int) -> list[tuple[float, float]]:
    command = [sys.executable, __file__, "--echo-server", str(sweep_mib)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            endpoint = pb.Endpoint.FromString(base64.b64decode(process.stdout.readline()))
            return wait(measure_echo(endpoint, tokens, warm_up))
        finally:
            process.kill()


def summarise(name: str, hops: int, samples: list[tuple[float, float]]) -> dict[str, object]:
    overhead = [(elapsed - compute) * 1000 for elapsed, compute in samples]
    return {
        "blocks": name,
        "hops": hops,
        "token ms": statistics.median(elapsed for elapsed, _ in samples) * 1000,
        "compute ms": statistics.median(compute for _, compute in samples) * 1000,
        "overhead ms": statistics.median(overhead),
        "per hop ms": statistics.median(overhead) / hops,
        "p95 ms": statistics.quantiles(overhead, n=20)[-1],
    }


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--warm-up", type=int, default=20)
    parser.add_argument("--echo-server", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    report = Report(args)
    if args.echo_server:
        torch.set_num_threads(1)
        uvloop.run(echo_server(args.echo_server))
        return
    rows = []
    with tiny_model() as tiny:
        for name, model in (("demo", "demo"), ("tiny", tiny)):
            for hops, blocks in CHAINS[name].items():
                chain = swarm.LocalSwarm(model, blocks, dtype="float32", threads=1)
                with chain as local, swarm.Client(model, local.peers) as client:
                    rows.append(summarise(name, hops, wait(measure(client, args.tokens, args.warm_up))))
    for name, sweep_mib in (("echo, 400 MiB swept", 400), ("echo, 1 MiB swept", 1)):
        rows.append(summarise(name, 1, echo(sweep_mib, args.tokens, args.warm_up)))
    print_table(rows)
    report.save("hop_overhead", {"tokens": args.tokens, "rows": rows})


if __name__ == "__main__":
    main()
