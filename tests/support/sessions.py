"""Sessions that a test drives itself."""

import socket
from dataclasses import replace

import swarm
from swarm.client.background import wait
from swarm.session.session import Session
from swarm.session.wanted import Wanted
from swarm.wire import messages_pb2 as pb


def run_session(client: swarm.Client, work, max_tokens: int = 100, unreachable_next: bool = False):
    """Open a session, await work(session), close it. With unreachable_next, every hop is told a wrong address of its
    successor, as if a firewall stood between them; the client itself still reaches all."""

    async def scenario():
        session = await client.parts.generator.open_session(max_tokens)
        if unreachable_next:
            session.close()
            hops = [
                replace(hop, peer=replace(hop.peer, endpoint=wrong_port(hop.peer.endpoint))) for hop in session.hops
            ]
            connections = [client.parts.router.connection_to(hop.peer) for hop in session.hops]
            options = client.parts.generator.session_options(session.hops, Wanted(0, max_tokens))
            session = Session(hops, connections, options)
            await session.open()
        try:
            return await work(session)
        finally:
            session.close()

    return wait(scenario())


def wrong_port(endpoint: pb.Endpoint) -> pb.Endpoint:
    wrong = pb.Endpoint()
    wrong.CopyFrom(endpoint)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        wrong.port = probe.getsockname()[1]
    return wrong
