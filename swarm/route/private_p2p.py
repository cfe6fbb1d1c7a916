"""The directory's calls in a private swarm: sealed, so that only members can make, read or answer them.

hivemind's own hook for this (AuthorizerBase) signs messages, but is not told between whom they go, so that what a
member says to an outsider would pass for that outsider's own words at the next member; and it leaves them readable.
Here each call is one ChaCha20-Poly1305 message (RFC 8439) under a key of its sender and its receiver, whose names
libp2p has proven. It cannot be passed on or turned round; an answer holds for one call only.

What stays visible to an outsider who knows a member's address: that it belongs to a private swarm, and the libp2p ids
and addresses of nodes, which libp2p's own routing tells whoever asks.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from google.protobuf.message import DecodeError, Message
from google.protobuf.wrappers_pb2 import BytesValue
from hivemind.p2p import P2P, P2PContext, PeerID
from hivemind.p2p.p2p_daemon_bindings.utils import P2PDaemonError, P2PHandlerError
from hivemind.proto.dht_pb2 import PingRequest, PingResponse

from swarm.errors import PrivateSwarm
from swarm.wire.secret import Secret

PROBE_TIMEOUT_S = 3.0
_NONCE_BYTES = 12
_REFUSAL = "this swarm is private"
_KEPT_KEYS = 1024  # of pairs of peers; deriving one takes 10 us

Handler = Callable[[Message, P2PContext], Awaitable[Message]]


class _Seal:
    """Opens and closes messages between two peers."""

    def __init__(self, secret: Secret):
        self._cipher = lru_cache(_KEPT_KEYS)(
            lambda sender, receiver: ChaCha20Poly1305(
                secret.key(b"directory/v1" + b"".join(len(name).to_bytes(2) + name for name in (sender, receiver)))
            )
        )

    def close(self, message: Message, sender: PeerID, receiver: PeerID, context: bytes) -> bytes:
        """context: what else the receiver must agree on, as which method it is for."""
        nonce = os.urandom(_NONCE_BYTES)
        cipher = self._cipher(sender.to_bytes(), receiver.to_bytes())
        return nonce + cipher.encrypt(nonce, message.SerializeToString(), context)

    def open(self, sealed: bytes, sender: PeerID, receiver: PeerID, context: bytes) -> bytes:
        """Raises PrivateSwarm if `sealed` was not made by a member for exactly this."""
        nonce, data = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        cipher = self._cipher(sender.to_bytes(), receiver.to_bytes())
        try:
            return cipher.decrypt(nonce, data, context)
        except (InvalidTag, ValueError) as error:  # the latter for too short a nonce
            raise PrivateSwarm(_REFUSAL) from error


class PrivateP2P(P2P):
    """libp2p for the members of one private swarm: all handlers, and all calls to others, are sealed."""

    _seal: _Seal

    @classmethod
    async def create(cls, *args: object, secret: Secret, **options: object) -> "PrivateP2P":
        """As P2P.create."""
        p2p = await super().create(*args, **options)
        p2p._seal = _Seal(secret)
        return p2p

    async def add_protobuf_handler(
        self,
        name: str,
        handler: Handler,
        input_protobuf_type: type[Message],
        *,
        stream_input: bool = False,
        stream_output: bool = False,
        balanced: bool = False,
    ) -> None:
        """As P2P.add_protobuf_handler, for calls with one answer: the DHT has no others."""
        if stream_input or stream_output:
            raise ValueError(f"{name}: streams are not sealed")

        async def open_handle_close(request: BytesValue, context: P2PContext) -> BytesValue:
            caller, own = context.remote_id, context.local_id
            data = self._seal.open(request.value, caller, own, name.encode())
            answer = await handler(input_protobuf_type.FromString(data), context)
            return BytesValue(value=self._seal.close(answer, own, caller, _answer_to(name, request.value)))

        await super().add_protobuf_handler(name, open_handle_close, BytesValue, balanced=balanced)

    async def call_protobuf_handler(
        self, peer_id: PeerID, name: str, input: Message, output_protobuf_type: type[Message]
    ) -> Message:
        """As P2P.call_protobuf_handler. Raises PrivateSwarm if the answer is not a member's."""
        request = BytesValue(value=self._seal.close(input, self.peer_id, peer_id, name.encode()))
        answer = await super().call_protobuf_handler(peer_id, name, request, BytesValue)
        data = self._seal.open(answer.value, peer_id, self.peer_id, _answer_to(name, request.value))
        return output_protobuf_type.FromString(data)


def _answer_to(name: str, request: bytes) -> bytes:
    return b"answer/" + request[:_NONCE_BYTES] + name.encode()


async def is_private(p2p: P2P, peer_id: PeerID) -> bool | None:
    """Whether the node `peer_id` belongs to a private swarm; None if it gives no sign of life."""
    try:
        question = P2P.call_protobuf_handler(p2p, peer_id, "DHTProtocol.rpc_ping", PingRequest(), PingResponse)
        await asyncio.wait_for(question, PROBE_TIMEOUT_S)
    except P2PHandlerError as error:
        return True if _REFUSAL in str(error) else None
    except (TimeoutError, P2PDaemonError, DecodeError):
        return None
    return False
