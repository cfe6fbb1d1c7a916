from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Order(_message.Message):
    __slots__ = ("order",)
    ORDER_FIELD_NUMBER: _ClassVar[int]
    order: bytes
    def __init__(self, order: _Optional[bytes] = ...) -> None: ...

class Entries(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, entries: _Optional[_Iterable[bytes]] = ...) -> None: ...

class EntriesQuery(_message.Message):
    __slots__ = ("address", "first")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    address: bytes
    first: int
    def __init__(self, address: _Optional[bytes] = ..., first: _Optional[int] = ...) -> None: ...

class StateQuery(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class State(_message.Message):
    __slots__ = ("now_s", "minted", "burned", "head")
    NOW_S_FIELD_NUMBER: _ClassVar[int]
    MINTED_FIELD_NUMBER: _ClassVar[int]
    BURNED_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    now_s: int
    minted: int
    burned: int
    head: bytes
    def __init__(self, now_s: _Optional[int] = ..., minted: _Optional[int] = ..., burned: _Optional[int] = ..., head: _Optional[bytes] = ...) -> None: ...

class AccountQuery(_message.Message):
    __slots__ = ("address",)
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    address: bytes
    def __init__(self, address: _Optional[bytes] = ...) -> None: ...

class Unbonding(_message.Message):
    __slots__ = ("amount", "release_s")
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    RELEASE_S_FIELD_NUMBER: _ClassVar[int]
    amount: int
    release_s: int
    def __init__(self, amount: _Optional[int] = ..., release_s: _Optional[int] = ...) -> None: ...

class Account(_message.Message):
    __slots__ = ("available", "escrowed", "staked", "unbonding", "parts")
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    ESCROWED_FIELD_NUMBER: _ClassVar[int]
    STAKED_FIELD_NUMBER: _ClassVar[int]
    UNBONDING_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    available: int
    escrowed: int
    staked: int
    unbonding: int
    parts: _containers.RepeatedCompositeFieldContainer[Unbonding]
    def __init__(self, available: _Optional[int] = ..., escrowed: _Optional[int] = ..., staked: _Optional[int] = ..., unbonding: _Optional[int] = ..., parts: _Optional[_Iterable[_Union[Unbonding, _Mapping]]] = ...) -> None: ...

class ChannelsQuery(_message.Message):
    __slots__ = ("id", "payer", "payee", "first")
    ID_FIELD_NUMBER: _ClassVar[int]
    PAYER_FIELD_NUMBER: _ClassVar[int]
    PAYEE_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    id: bytes
    payer: bytes
    payee: bytes
    first: int
    def __init__(self, id: _Optional[bytes] = ..., payer: _Optional[bytes] = ..., payee: _Optional[bytes] = ..., first: _Optional[int] = ...) -> None: ...

class Channel(_message.Message):
    __slots__ = ("id", "payer", "payee", "deposit", "paid", "closes_at", "is_closed")
    ID_FIELD_NUMBER: _ClassVar[int]
    PAYER_FIELD_NUMBER: _ClassVar[int]
    PAYEE_FIELD_NUMBER: _ClassVar[int]
    DEPOSIT_FIELD_NUMBER: _ClassVar[int]
    PAID_FIELD_NUMBER: _ClassVar[int]
    CLOSES_AT_FIELD_NUMBER: _ClassVar[int]
    IS_CLOSED_FIELD_NUMBER: _ClassVar[int]
    id: bytes
    payer: bytes
    payee: bytes
    deposit: int
    paid: int
    closes_at: int
    is_closed: bool
    def __init__(self, id: _Optional[bytes] = ..., payer: _Optional[bytes] = ..., payee: _Optional[bytes] = ..., deposit: _Optional[int] = ..., paid: _Optional[int] = ..., closes_at: _Optional[int] = ..., is_closed: _Optional[bool] = ...) -> None: ...

class Channels(_message.Message):
    __slots__ = ("channels",)
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    channels: _containers.RepeatedCompositeFieldContainer[Channel]
    def __init__(self, channels: _Optional[_Iterable[_Union[Channel, _Mapping]]] = ...) -> None: ...
