"""Structures that are signed: each is declared once, and how it is hashed, encoded and checked follows from that.

A format is a frozen dataclass whose fields have the types below, which are those of EIP-712 (see eip712.py). Its fields
in order are the members of the typed structure, under the names that contracts and wallets have (`time_ms` is timeMs).
On the wire come the version, if the format has one, the members of fixed size in their order, big-endian, those of any
length, each behind its own, and the signature: one encoding for every value, which alone is accepted.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from operator import attrgetter, itemgetter
from typing import Annotated, Any, Generic, NamedTuple, Protocol, TypeVar, cast, get_args, get_origin, get_type_hints

from swarm.errors import InvalidRequest
from swarm.wire.formats.eip712 import VARIABLE, Struct, Value
from swarm.wire.identity import SIGNATURE_BYTES, Identity, address_of, signer_of_hash

Bytes16 = Annotated[bytes, "bytes16"]
Bytes32 = Annotated[bytes, "bytes32"]
Address = Annotated[bytes, "address"]  # of the EVM, 20 bytes
UInt32 = Annotated[int, "uint32"]
UInt64 = Annotated[int, "uint64"]
UInt256 = Annotated[int, "uint256"]  # what contracts call an amount; below 2^64 all the same
Flag = Annotated[bool, "uint8"]
Text = Annotated[str, "string"]  # short, printable ASCII

MAX_TEXT_BYTES = 128
_PACKED = {
    "uint8": "?", "uint32": "I", "uint64": "Q", "uint256": "Q", "address": "20s", "bytes16": "16s", "bytes32": "32s",
}  # fmt: skip
_LENGTH_BYTES = {"string": 1, "bytes": 4}  # of what is of any length


def check_text(text: bytes, what: str) -> str:
    """Printable ASCII, since it is shown to people and must not write over their terminal. Raises InvalidRequest."""
    if len(text) > MAX_TEXT_BYTES or not all(32 <= byte < 127 for byte in text):
        raise InvalidRequest(f"{what} with a text that is not short and plain")
    return text.decode()


class Layout:
    """A structure's members, from which both its encodings follow. Values come in the order of the members."""

    def __init__(self, what: str, type_: Struct, head: bytes = b"", first: Sequence[str] = ()):
        """what: "a receipt". head: bytes that every encoding begins with; the first is the version. first: members that
        travel before the others."""
        self.what, self.type, self.head = what, type_, head
        names = [member.name for member in type_.members]
        moved = [names.index(name) for name in first]
        order = moved + [place for place in range(len(names)) if place not in moved]
        self._fixed = [place for place in order if type_.members[place].type not in VARIABLE]
        self._variable = [(place, type_.members[place].type) for place in order if place not in self._fixed]
        self._take_fixed: Callable[[Sequence[Value]], Sequence[Value]] = itemgetter(*self._fixed)  # there are several
        self._struct = struct.Struct(">" + "".join(_PACKED[type_.members[place].type] for place in self._fixed))
        self.min_bytes = len(head) + self._struct.size + sum(_LENGTH_BYTES[kind] for _, kind in self._variable)

    def pack(self, values: Sequence[Value]) -> bytes:
        """The canonical bytes, but for a signature."""
        if not self._variable:
            return self.head + self._struct.pack(*self._take_fixed(values))
        parts = [self.head, self._struct.pack(*self._take_fixed(values))]
        for place, kind in self._variable:
            value = values[place]
            part = value.encode() if isinstance(value, str) else bytes(value)
            parts += (len(part).to_bytes(_LENGTH_BYTES[kind]), part)
        return b"".join(parts)

    def unpack(self, data: bytes) -> tuple[list[Any], bytes]:
        """The values in `data`, which is untrusted, as their types say, and what comes after them. Raises
        InvalidRequest."""
        if len(data) < self.min_bytes:
            raise InvalidRequest(f"{self.what} has at least {self.min_bytes} bytes, and not {len(data)}")
        if not data.startswith(self.head):
            raise InvalidRequest(f"{self.what} of version {data[0]}; this software reads {self.head[0]}")
        values: list[Any] = [b""] * len(self.type.members)
        for place, value in zip(self._fixed, self._struct.unpack_from(data, len(self.head)), strict=True):
            values[place] = value
        at = len(self.head) + self._struct.size
        for place, kind in self._variable:
            start = at + _LENGTH_BYTES[kind]
            at = start + int.from_bytes(data[at:start])
            values[place] = check_text(data[start:at], self.what) if kind == "string" else data[start:at]
        if at > len(data):
            raise InvalidRequest(f"{self.what} whose parts do not fill its length")
        return values, data[at:]


class _Signable(Protocol):
    @property
    def hash(self) -> bytes: ...


T = TypeVar("T", bound=_Signable)


class Format(Generic[T]):
    """Of the structures of one dataclass, whose `hash` is what `Format.hash` says."""

    def __init__(
        self, cls: type[T], what: str, *, version: int | None = None, signer: str | None = None,
        order: Sequence[str] = (), is_signed: bool = True,
    ):  # fmt: skip
        """what: "a receipt". signer: the attribute that names, by its address, who alone may sign one; None: anybody.
        order: the fields by name, where the wire's order is not theirs."""
        leaves = _leaves(cls)
        if order:
            leaves.sort(key=lambda leaf: order.index(leaf.name))
        self.type = Struct(cls.__name__, *((leaf.type, _camel_case(leaf.name)) for leaf in leaves))
        self.layout = Layout(what, self.type, b"" if version is None else bytes([version]))
        self._values: Callable[[T], Sequence[Value]] = attrgetter(*(leaf.path for leaf in leaves))
        self._make = _maker(cls, {leaf.path: place for place, leaf in enumerate(leaves)})
        self._signer: Callable[[T], bytes] | None = attrgetter(signer) if signer else None
        self._signature_bytes = SIGNATURE_BYTES if is_signed else 0
        self.min_bytes = self.layout.min_bytes + self._signature_bytes
        texts = sum(type_ in VARIABLE for type_, _ in self.type.members)
        self.max_bytes = self.min_bytes + texts * MAX_TEXT_BYTES

    def words(self, value: T) -> bytes:
        """All members, 32 bytes each, as a contract hashes them."""
        return self.type.words(self._values(value))

    def hash(self, value: T) -> bytes:
        """The 32 bytes that are signed."""
        return self.type.hash(self._values(value))

    def sign(self, value: T, identity: Identity) -> bytes:
        """The signature. Raises ValueError if it is another's to sign."""
        if self._signer and self._signer(value) != identity.address:
            raise ValueError(f"{self.layout.what} is signed by the peer that it names")
        return identity.sign_hash(value.hash)

    def encode(self, value: T, signature: bytes = b"") -> bytes:
        """The canonical bytes: `decode` accepts these and no others."""
        return self.layout.pack(self._values(value)) + signature

    def decode(self, data: bytes) -> tuple[T, bytes]:
        """The structure in `data`, which is untrusted, and a signature that is not checked yet: see `signer`. Raises
        InvalidRequest."""
        if not self.min_bytes <= len(data) <= self.max_bytes:
            most = f"{self.min_bytes} to " * (self.min_bytes < self.max_bytes) + str(self.max_bytes)
            raise InvalidRequest(f"{self.layout.what} has {most} bytes, and not {len(data)}")
        values, signature = self.layout.unpack(data)
        if len(signature) != self._signature_bytes:
            raise InvalidRequest(f"{self.layout.what} whose parts do not fill its length")
        return self._make(values), signature

    def signer(self, value: T, signature: bytes) -> str:
        """Peer id of who signed it. Raises InvalidRequest if that is not who has to, or the signature is malformed."""
        peer_id = signer_of_hash(value.hash, signature)
        if self._signer and self._signer(value) != address_of(peer_id):
            raise InvalidRequest(f"{self.layout.what} that is not signed by the peer that it names")
        return peer_id


class _Leaf(NamedTuple):
    """A member of a structure. name: of the field. path: attributes that lead to it."""

    type: str
    name: str
    path: str


def _leaves(cls: type) -> list[_Leaf]:
    """Of all fields that are on the wire, and of those of structures inside; a name before "_" comes from the field."""
    found: list[_Leaf] = []
    for field, (type_, note) in _annotations(cls).items():
        if _is_structure(type_):
            inner = _leaves(type_)
            found += [_Leaf(leaf.type, note + leaf.name, f"{field}.{leaf.path}") for leaf in inner]
        elif note:
            found.append(_Leaf(note, field, field))
    return found


def _annotations(cls: type) -> dict[str, tuple[type, str]]:
    """The type of every field, and what is noted with it."""
    hints = get_type_hints(cls, include_extras=True)
    names = [field.name for field in fields(cls)] if is_dataclass(cls) else list(hints)
    return {
        name: get_args(hints[name]) if get_origin(hints[name]) is Annotated else (hints[name], "") for name in names
    }


def _is_structure(type_: type) -> bool:
    return is_dataclass(type_) or hasattr(type_, "_fields")


def _maker(cls: type[T], places: dict[str, int]) -> Callable[[Sequence[Value]], T]:
    """places: of values, by the path of their field."""
    direct = [(name, places[name]) for name in _annotations(cls) if name in places]
    nested: list[tuple[str, Callable[[Sequence[Value]], Any]]] = []
    for name, (type_, _) in _annotations(cls).items():
        inner = {path.removeprefix(f"{name}."): place for path, place in places.items() if path.startswith(f"{name}.")}
        if inner:
            nested.append((name, _maker(type_, inner)))

    def make(values: Sequence[Value]) -> T:
        arguments: dict[str, Any] = {name: values[place] for name, place in direct}
        for name, make_inner in nested:
            arguments[name] = make_inner(values)
        return cast(Callable[..., T], cls)(**arguments)

    return make


def _camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)
