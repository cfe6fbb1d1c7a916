"""gRPC between a ledger's service and its users: TLS with a certificate that is pinned by its fingerprint.

A ledger's address is HOST:PORT/FINGERPRINT, the last being the SHA-256 of its certificate in hexadecimal. gRPC can be
told which certificate to trust but not which fingerprint, so a connection of its own fetches the certificate first.
"""

import hashlib
import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import grpc
from google.protobuf.message import Message

from swarm.errors import InvalidRequest, PeerUnreachable
from swarm.market.service import ledger_pb2 as pb
from swarm.wire.grpc_forks import use_grpc
from swarm.wire.hosts import join_address
from swarm.wire.tls import SERVER_NAME, pem_from_der

SERVICE = "swarm.ledger.v1.Ledger"
MAX_REQUEST_BYTES = 256 * 1024
MAX_ANSWER_BYTES = 4 * 1024 * 1024
CONNECT_S = 10.0

_ADDRESS = re.compile(r"(\[[^]/]+\]|[^][:/\s]+):(\d{1,5})/([0-9a-f]{64})")


Query = TypeVar("Query", bound=Message)
Answer = TypeVar("Answer", bound=Message)


@dataclass(frozen=True)
class Method(Generic[Query, Answer]):
    """What it is asked, and what it answers."""

    name: str
    query: type[Query]
    answer: type[Answer]


SUBMIT = Method("Submit", pb.Order, pb.Entries)
ENTRIES = Method("Entries", pb.EntriesQuery, pb.Entries)
STATE = Method("State", pb.StateQuery, pb.State)
ACCOUNT = Method("Account", pb.AccountQuery, pb.Account)
CHANNELS = Method("Channels", pb.ChannelsQuery, pb.Channels)
METHODS: Mapping[str, Method[Any, Any]] = {one.name: one for one in (SUBMIT, ENTRIES, STATE, ACCOUNT, CHANNELS)}


@dataclass(frozen=True)
class LedgerAddress:
    """Where a ledger's service is, and which certificate it has."""

    host: str
    port: int
    fingerprint: bytes  # SHA-256 of the DER form

    @classmethod
    def parse(cls, text: str) -> "LedgerAddress | None":
        """None if it is no such address."""
        match = _ADDRESS.fullmatch(text)
        return cls(match[1].strip("[]"), int(match[2]), bytes.fromhex(match[3])) if match else None

    def __str__(self) -> str:
        return f"{join_address(self.host, self.port)}/{self.fingerprint.hex()}"


def fingerprint(certificate_der: bytes) -> bytes:
    return hashlib.sha256(certificate_der).digest()


def connect(address: LedgerAddress) -> grpc.Channel:
    """Raises PeerUnreachable if nobody answers, InvalidRequest if it is somebody else."""
    der = _certificate(address)
    if fingerprint(der) != address.fingerprint:
        raise InvalidRequest(
            f"who answers at {join_address(address.host, address.port)} has the certificate "
            f"{fingerprint(der).hex()}: it is another ledger, or somebody in between"
        )
    options = [
        ("grpc.ssl_target_name_override", SERVER_NAME),
        ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
        ("grpc.enable_http_proxy", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    use_grpc()
    credentials = grpc.ssl_channel_credentials(pem_from_der(der))
    return grpc.secure_channel(join_address(address.host, address.port), credentials, options=options)


def _certificate(address: LedgerAddress) -> bytes:
    """Of whoever is there, in DER form."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # its fingerprint is checked instead
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection((address.host, address.port), CONNECT_S) as plain,
            context.wrap_socket(plain) as secure,
        ):
            return secure.getpeercert(binary_form=True) or b""
    except OSError as error:
        where = join_address(address.host, address.port)
        raise PeerUnreachable(f"the ledger at {where} does not answer: {error.strerror or error}") from error
