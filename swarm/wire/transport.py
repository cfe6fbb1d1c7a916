"""gRPC between peers: one service of six methods, TLS with pinned certificates, limits on what may arrive.

  Session  client <-> hop     a client's own stream to each hop of its chain: opens the session, carries steps to the
                              first hop and results from the last; its end is the session's end
  Push     hop -> next hop    one stream per pair of servers: steps of all sessions they share
  Status   anyone -> hop      one small answer: who it is, how busy it is
  Deposit  client -> hop      evidence against another peer, in pieces, to be kept for others (see blobs.py)
  Withdraw hop -> anyone      the same on its way out, by its digest
  Tender   client -> hop      an order, answered with a sealed bid; then all commitments, answered with the bid

In a private swarm nobody but members gets as far as a method: see tls.py.
"""

import errno
import logging
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

import grpc
import psutil
from google.protobuf.message import Message

from swarm.errors import AddressInUse, InvalidRequest, PeerUnreachable, SwarmError, from_wire
from swarm.program import option
from swarm.wire import messages_pb2 as pb
from swarm.wire.grpc_forks import use_grpc
from swarm.wire.hosts import check_whole, is_elsewhere, is_usual, join_address
from swarm.wire.peer_names import short_id
from swarm.wire.tls import SERVER_NAME, Certificate, pem_from_der

MAX_STEP_TOKENS = 512  # in one message; longer prompts travel in several
OPENING_S = 2.0  # by which a server says whether it opens a session, whatever its disk does, or the next hop
_HEADROOM_BYTES = 256 * 1024  # for everything in a message that is not the tensor
_SERVICE = "swarm.v1.Peer"
_SYSTEM_ERRORS = re.compile(r": ([A-Z][a-z]+(?: [a-z]+)+) \(\d+\)")  # as in "connect: Connection refused (111)"

# A peer that went away without closing its connection (power cut, SIGSTOP) is noticed within two of these.
_KEEPALIVE_MS = 2_000

logger = logging.getLogger(__name__)

_HANDSHAKE_MS = 10_000  # who connects and says nothing holds a file handle for so long

_COMMON_OPTIONS = [
    ("grpc.keepalive_time_ms", _KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", _KEEPALIVE_MS),
    # gRPC's bandwidth probes are pings as well, and while one is unanswered no keepalive is sent: without this a hung
    # client is found after a minute.
    ("grpc.http2.ping_timeout_ms", _KEEPALIVE_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.enable_http_proxy", 0),
]

_SERVER_OPTIONS = [
    ("grpc.so_reuseport", 0),  # else two servers share a port silently
    ("grpc.max_concurrent_streams", 1024),
    ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", _KEEPALIVE_MS // 2),
    ("grpc.http2.max_ping_strikes", 0),
]


def max_message_bytes(hidden_size: int) -> int:
    """The largest message that a peer of this model accepts: MAX_STEP_TOKENS of float32 and some headroom."""
    return MAX_STEP_TOKENS * hidden_size * 4 + _HEADROOM_BYTES


def _options(max_bytes: int) -> list[tuple[str, int]]:
    return [
        *_COMMON_OPTIONS,
        ("grpc.max_receive_message_length", max_bytes),
        ("grpc.max_send_message_length", max_bytes),
        ("grpc.max_metadata_size", 8 * 1024),
    ]


Handler = Callable[[Any, grpc.aio.ServicerContext[Any, Any]], Awaitable[Any]]  # their messages are the method's


async def serve(
    host: str,
    port: int,
    certificate: Certificate,
    max_bytes: int,
    *,
    session: Handler,
    push: Handler,
    status: Handler,
    deposit: Handler,
    withdraw: Handler,
    tender: Handler,
) -> tuple[grpc.aio.Server, int]:
    """Start serving the six methods on `host`:`port` (0 picks a free port); returns the server and its port.

    certificate: if it names an authority, callers must show a certificate of the same one.
    Raises AddressInUse if another process has the port.
    """
    use_grpc()
    server = grpc.aio.server(options=[*_options(max_bytes), *_SERVER_OPTIONS])
    to_server, bundle = pb.ToServer.FromString, pb.Bundle.FromString
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Session": grpc.stream_stream_rpc_method_handler(session, to_server, pb.ToClient.SerializeToString),
        "Push": grpc.stream_stream_rpc_method_handler(push, bundle, pb.Failure.SerializeToString),
        "Status": grpc.unary_unary_rpc_method_handler(status, pb.StatusRequest.FromString, pb.Status.SerializeToString),
        "Deposit": grpc.stream_unary_rpc_method_handler(
            deposit, pb.DepositPiece.FromString, pb.Deposited.SerializeToString
        ),
        "Withdraw": grpc.unary_stream_rpc_method_handler(
            withdraw, pb.Withdrawal.FromString, pb.WithdrawnPiece.SerializeToString
        ),
        "Tender": grpc.unary_unary_rpc_method_handler(tender, pb.Tender.FromString, pb.Tendered.SerializeToString),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
    credentials = grpc.ssl_server_credentials(
        [(certificate.private_key_pem, certificate.certificate_pem)],
        root_certificates=certificate.authority_pem,
        require_client_auth=certificate.authority_pem is not None,
    )
    check_port_free(host, port)
    bound = server.add_secure_port(join_address(host, port), credentials)
    await server.start()
    return server, bound


def announced_host(host: str, others: Iterable[str] = ()) -> str:
    """The address under which other machines reach a server that listens on `host`. others: where these are, as far as
    it is known: IP addresses; what else is among them is ignored. Raises SwarmError if this machine has no address."""
    if host not in ("0.0.0.0", "::"):
        return host
    anywhere = "2001:db8::1" if host == "::" else "192.0.2.1"
    for there in [*(other for other in others if is_elsewhere(other)), anywhere]:
        try:
            return _towards(there, socket.AF_INET6 if host == "::" else socket.AF_INET)
        except OSError as error:
            why = error
    if own := _own_addresses(socket.AF_INET6 if host == "::" else socket.AF_INET):
        if len(own) > 1:
            others_are = f"this machine has the addresses {', '.join(own)}, and no way to others that tells which"
            logger.warning("%s: they are told %s; %s names another", others_are, own[0], option("announce"))
        return own[0]
    raise SwarmError(f"cannot tell this machine's address ({why}); give it with {option('announce')}") from why


def _own_addresses(family: socket.AddressFamily) -> list[str]:
    """Those of interfaces that are up under which others on the same network reach this machine: where it has no way to
    any other network, nobody else does."""
    is_up = {name for name, state in psutil.net_if_stats().items() if state.isup}
    found = {name: addresses for name, addresses in psutil.net_if_addrs().items() if name in is_up}
    return [one.address for own in found.values() for one in own if one.family == family and is_usual(one.address)]


def _towards(there: str, family: socket.AddressFamily) -> str:
    """This machine's own address on the way there. Raises OSError if there is no way."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((there, 9))  # sends nothing: only asks the kernel which interface it would use
        return str(probe.getsockname()[0])


def check_port_free(host: str, port: int) -> None:
    """Raises AddressInUse if nothing can listen on `host`:`port`, as when another process does, InvalidRequest if the
    host is not this machine. gRPC and libp2p say it less clearly, or, with SO_REUSEPORT, share the port without a
    word."""
    check_whole(host)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that linger do not matter
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as error:
            if getattr(error, "errno", None) == errno.EADDRNOTAVAIL:
                raise InvalidRequest(f"cannot listen on {host}: that is not this machine's address") from error
            reason = error.strerror if isinstance(error, OSError) else "no such port"
            raise AddressInUse(
                f"cannot listen on {join_address(host, port)}: {reason}; choose another port, or 0 for any free one"
            ) from error


class Peer:
    """A connection to another peer's service, made when first used and shared by all sessions through it.

    The other side must hold exactly the certificate of its directory record. gRPC reconnects by itself after a break.
    """

    def __init__(self, endpoint: pb.Endpoint, max_bytes: int, member: Certificate | None = None):
        """member: in a private swarm, this process's own certificate."""
        use_grpc()
        self.peer_id = endpoint.peer_id
        self.address = join_address(endpoint.host, endpoint.port)
        own = (member.private_key_pem, member.certificate_pem) if member else ()
        credentials = grpc.ssl_channel_credentials(pem_from_der(endpoint.certificate), *own)
        options = [
            *_options(max_bytes),
            ("grpc.ssl_target_name_override", SERVER_NAME),
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2_000),
            ("grpc.use_local_subchannel_pool", 1),  # peers that moved to a reused port must not share a connection
        ]
        self._channel = grpc.aio.secure_channel(self.address, credentials, options=options)
        self._session = self._channel.stream_stream(
            f"/{_SERVICE}/Session", pb.ToServer.SerializeToString, pb.ToClient.FromString
        )
        self._push = self._channel.stream_stream(
            f"/{_SERVICE}/Push", pb.Bundle.SerializeToString, pb.Failure.FromString
        )
        self._status = self._channel.unary_unary(
            f"/{_SERVICE}/Status", pb.StatusRequest.SerializeToString, pb.Status.FromString
        )
        self._deposit = self._channel.stream_unary(
            f"/{_SERVICE}/Deposit", pb.DepositPiece.SerializeToString, pb.Deposited.FromString
        )
        self._withdraw = self._channel.unary_stream(
            f"/{_SERVICE}/Withdraw", pb.Withdrawal.SerializeToString, pb.WithdrawnPiece.FromString
        )
        self._tender = self._channel.unary_unary(
            f"/{_SERVICE}/Tender", pb.Tender.SerializeToString, pb.Tendered.FromString
        )

    def session(self) -> grpc.aio.StreamStreamCall[Message, pb.ToClient]:
        """A new Session stream: write ToServer, read ToClient."""
        return self._session()

    def push(self) -> grpc.aio.StreamStreamCall[Message, pb.Failure]:
        """A new Push stream: write Bundle, read Failure."""
        return self._push()

    def deposit(
        self, pieces: Iterator[pb.DepositPiece], timeout_s: float
    ) -> grpc.aio.StreamUnaryCall[Message, pb.Deposited]:
        """A Deposit call: await it for Deposited."""
        return self._deposit(pieces, timeout=timeout_s)

    def withdraw(self, digest: bytes, timeout_s: float) -> grpc.aio.UnaryStreamCall[Message, pb.WithdrawnPiece]:
        """A Withdraw call: read WithdrawnPiece."""
        return self._withdraw(pb.Withdrawal(digest=digest), timeout=timeout_s)

    async def tender(self, request: pb.Tender, timeout_s: float) -> pb.Tendered:
        """What the peer answers to an order. Raises PeerUnreachable if nothing comes, SwarmError if it refuses."""
        try:
            answer = await self._tender(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise unreachable(self, error) from error
        if answer.HasField("failure"):
            raise from_wire(answer.failure.code, answer.failure.message)
        return answer

    async def status(self, timeout_s: float, padding_bytes: int = 0, greeting: bytes = b"") -> pb.Status:
        """The peer's Status. Raises PeerUnreachable if none comes in time.

        padding_bytes: to send along, so that the time taken tells the link's bandwidth. greeting: to a twin, see
        swarm.peers.twins.
        """
        request = pb.StatusRequest(padding=bytes(padding_bytes), greeting=greeting)
        try:
            return await self._status(request, timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            raise unreachable(self, error) from error

    async def close(self, grace_s: float | None = None) -> None:
        """grace_s: calls still running may go on for so long."""
        await self._channel.close(grace_s)


def unreachable(peer: Peer, error: grpc.RpcError) -> PeerUnreachable:
    """`error` on a call to `peer` as one line that a person can act on."""
    detail = error.details() if isinstance(error, grpc.aio.AioRpcError) else str(error)
    return PeerUnreachable(f"peer {short_id(peer.peer_id)} at {peer.address} does not answer: {in_plain_words(detail)}")


def in_plain_words(detail: str | None) -> str:
    """gRPC's details name every address tried and every system error; why the last one failed is enough."""
    text = " ".join((detail or "no reason given").split())
    if system := _SYSTEM_ERRORS.findall(text):
        return str(system[-1]).lower()
    if "Deadline" in text:
        return "no answer in time"
    return text if len(text) <= 160 else text[:157] + "..."
