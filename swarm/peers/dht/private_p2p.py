"""The directory's calls in a private swarm: encrypted, so that only members can make, read or answer them.

hivemind's own hook for this (AuthorizerBase) signs messages, but is not told between whom they go, so that what a
member says to an outsider would pass for that outsider's own words at the next member; and it leaves them readable.
Here each call is one ChaCha20-Poly1305 message (RFC 8439) under a key of its sender and its receiver, whose names
libp2p has proven. It cannot be passed on or turned round; an answer holds for one call only.

libp2p's own routing, by which a node usually finds the addresses of others, answers whoever asks. Private nodes do not
take part in it: they tell one another where they listen, inside the encrypted messages.

What stays visible to an outsider who knows a member's address: that this member belongs to a private swarm, and its
libp2p id.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import lru_cache

import msgpack
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from google.protobuf.message import DecodeError, Message
from google.protobuf.wrappers_pb2 import BytesValue
from hivemind.p2p import P2P, P2PContext, PeerID
from hivemind.p2p.p2p_daemon_bindings.utils import P2PDaemonError, P2PHandlerError
from hivemind.proto.dht_pb2 import FindResponse, PingRequest, PingResponse
from hivemind.utils.multiaddr import Multiaddr

from swarm.errors import InvalidRequest, PrivateSwarm
from swarm.wire.secret import Secret

PROBE_TIMEOUT_S = 3.0
_NONCE_BYTES = 12
_REFUSAL = "this swarm is private"
_KEPT_KEYS = 1024  # of pairs of peers; deriving one takes 10 us
_MAX_ADDRESSES = 8  # of one node
_MAX_NAME_BYTES = 128  # of a peer id or an address
_MAX_NODES = 10_000  # whose addresses are kept

Handler = Callable[[Message, P2PContext], Awaitable[Message]]


class PairCipher:
    """Encrypts messages between two peers, and decrypts them."""

    def __init__(self, secret: Secret):
        self._cipher = lru_cache(_KEPT_KEYS)(
            lambda sender, receiver: ChaCha20Poly1305(
                secret.key(b"directory/v1" + b"".join(len(name).to_bytes(2) + name for name in (sender, receiver)))
            )
        )

    def encrypt(self, message: bytes, sender: PeerID, receiver: PeerID, context: bytes) -> bytes:
        """context: what else the receiver must agree on, as which method it is for."""
        nonce = os.urandom(_NONCE_BYTES)
        cipher = self._cipher(sender.to_bytes(), receiver.to_bytes())
        return nonce + cipher.encrypt(nonce, message, context)

    def decrypt(self, encrypted: bytes, sender: PeerID, receiver: PeerID, context: bytes) -> bytes:
        """Raises PrivateSwarm if `encrypted` was not made by a member for exactly this."""
        nonce, data = encrypted[:_NONCE_BYTES], encrypted[_NONCE_BYTES:]
        cipher = self._cipher(sender.to_bytes(), receiver.to_bytes())
        try:
            return cipher.decrypt(nonce, data, context)
        except (InvalidTag, ValueError) as error:  # the latter for too short a nonce
            raise PrivateSwarm(_REFUSAL) from error


class AddressBook:
    """Where nodes listen: at best by their own word, else by that of another member. A wrong address costs a vain call:
    libp2p checks who answers."""

    def __init__(self) -> None:
        self._known: dict[bytes, list[bytes]] = {}  # peer id -> multiaddresses, the oldest entry first

    def of(self, peer_ids: Iterable[bytes]) -> dict[bytes, list[bytes]]:
        return {peer_id: self._known[peer_id] for peer_id in peer_ids if peer_id in self._known}

    def note(self, told: dict[bytes, list[bytes]], teller: bytes) -> None:
        for peer_id, addresses in told.items():
            if peer_id == teller or peer_id not in self._known:
                self._known.pop(peer_id, None)
                self._known[peer_id] = addresses[:_MAX_ADDRESSES]
        while len(self._known) > _MAX_NODES:
            self._known.pop(next(iter(self._known)))


class PrivateP2P(P2P):  # type: ignore[misc]  # hivemind has no annotations
    """libp2p for the members of one private swarm: all handlers, and all calls to others, are encrypted."""

    _cipher: PairCipher
    _book: AddressBook
    _own: dict[bytes, list[bytes]]  # this node's id and addresses; empty if it does not listen
    _reached: set[bytes]  # peer ids of nodes that answered the last call

    @classmethod
    async def replicate(cls, control: Multiaddr, secret: Secret, listens: bool) -> "PrivateP2P":
        """As P2P.replicate: over a daemon that runs, which takes no part in libp2p's own routing. listens: whether
        others may call it."""
        p2p: PrivateP2P = await super().replicate(control)
        p2p._cipher, p2p._book, p2p._reached = PairCipher(secret), AddressBook(), set()
        own = [Multiaddr(address).to_bytes() for address in p2p._visible_maddrs] if listens else []
        p2p._own = {p2p.peer_id.to_bytes(): own[:_MAX_ADDRESSES]} if own else {}
        return p2p

    def introduce(self, peer_id: PeerID, addresses: Sequence[Multiaddr]) -> None:
        """This is where `peer_id` is said to listen."""
        self._book.note({peer_id.to_bytes(): [address.to_bytes() for address in addresses]}, b"")

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
            raise ValueError(f"{name}: streams are not encrypted")

        async def open_handle_close(request: BytesValue, context: P2PContext) -> BytesValue:
            caller, own = context.remote_id, context.local_id
            data = self._learn(self._cipher.decrypt(request.value, caller, own, name.encode()), caller)
            answer = await handler(input_protobuf_type.FromString(data), context)
            packed = _pack(answer, self._book.of(_named(answer)))
            return BytesValue(value=self._cipher.encrypt(packed, own, caller, _answer_to(name, request.value)))

        await super().add_protobuf_handler(name, open_handle_close, BytesValue, balanced=balanced)

    async def call_protobuf_handler(
        self, peer_id: PeerID, name: str, input: Message, output_protobuf_type: type[Message]
    ) -> Message:
        """As P2P.call_protobuf_handler. Raises PrivateSwarm if the answer is not a member's."""
        await self._reach(peer_id)
        packed = _pack(input, self._own)
        request = BytesValue(value=self._cipher.encrypt(packed, self.peer_id, peer_id, name.encode()))
        answer = await super().call_protobuf_handler(peer_id, name, request, BytesValue)
        data = self._cipher.decrypt(answer.value, peer_id, self.peer_id, _answer_to(name, request.value))
        self._reached.add(peer_id.to_bytes())
        return output_protobuf_type.FromString(self._learn(data, peer_id))

    async def _reach(self, peer_id: PeerID) -> None:
        """Connect to a node that did not answer the last call, or never was called, if its addresses are known."""
        key = peer_id.to_bytes()
        addresses = self._book.of([key]).get(key)
        if addresses and key not in self._reached:
            with suppress(P2PDaemonError):  # the call itself will fail then, and say it better
                await self._client.connect(peer_id, [Multiaddr(address) for address in addresses])
        self._reached.discard(key)

    def _learn(self, data: bytes, sender: PeerID) -> bytes:
        """The message in what a member sent; keeps the addresses that came with it. Raises InvalidRequest."""
        message, addresses = unpack(data)
        self._book.note(addresses, sender.to_bytes())
        return message


def _pack(message: Message, addresses: dict[bytes, list[bytes]]) -> bytes:
    """`message`, with addresses of nodes that the receiver may want to call."""
    packed: bytes = msgpack.packb([message.SerializeToString(), addresses])
    return packed


def unpack(data: bytes) -> tuple[bytes, dict[bytes, list[bytes]]]:
    """Raises InvalidRequest if `data` is not what `_pack` makes."""
    try:
        message, addresses = msgpack.unpackb(data, strict_map_key=False)
        if not isinstance(message, bytes):
            raise ValueError("no message")
        return message, {_short(key): [_short(one) for one in value] for key, value in addresses.items()}
    except (ValueError, TypeError, AttributeError, msgpack.UnpackException) as error:
        raise InvalidRequest("a member's message that is not in order") from error


def _named(answer: Message) -> list[bytes]:
    """Peer ids of the nodes to which `answer` refers the caller."""
    results = answer.results if isinstance(answer, FindResponse) else ()
    return [peer_id for result in results for peer_id in result.nearest_peer_ids]


def _short(name: object) -> bytes:
    """`name`, if it may be a peer id or a multiaddress. Raises ValueError."""
    if not isinstance(name, bytes) or len(name) > _MAX_NAME_BYTES:
        raise ValueError("neither peer id nor address")
    return name


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
