from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DTYPE_UNSPECIFIED: _ClassVar[DType]
    FLOAT32: _ClassVar[DType]
    BFLOAT16: _ClassVar[DType]
    FLOAT16: _ClassVar[DType]

class Want(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NOTHING: _ClassVar[Want]
    LAST: _ClassVar[Want]
    ALL: _ClassVar[Want]

class PeerState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ONLINE: _ClassVar[PeerState]
    LEAVING: _ClassVar[PeerState]
    JOINING: _ClassVar[PeerState]
    MOVING: _ClassVar[PeerState]
DTYPE_UNSPECIFIED: DType
FLOAT32: DType
BFLOAT16: DType
FLOAT16: DType
NOTHING: Want
LAST: Want
ALL: Want
ONLINE: PeerState
LEAVING: PeerState
JOINING: PeerState
MOVING: PeerState

class Tensor(_message.Message):
    __slots__ = ("dtype", "shape", "data", "digest")
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    dtype: DType
    shape: _containers.RepeatedScalarFieldContainer[int]
    data: bytes
    digest: bytes
    def __init__(self, dtype: _Optional[_Union[DType, str]] = ..., shape: _Optional[_Iterable[int]] = ..., data: _Optional[bytes] = ..., digest: _Optional[bytes] = ...) -> None: ...

class Endpoint(_message.Message):
    __slots__ = ("peer_id", "host", "port", "certificate")
    PEER_ID_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    peer_id: str
    host: str
    port: int
    certificate: bytes
    def __init__(self, peer_id: _Optional[str] = ..., host: _Optional[str] = ..., port: _Optional[int] = ..., certificate: _Optional[bytes] = ...) -> None: ...

class Load(_message.Message):
    __slots__ = ("free_pages", "total_pages", "sessions", "queued_tokens", "decoding")
    FREE_PAGES_FIELD_NUMBER: _ClassVar[int]
    TOTAL_PAGES_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    QUEUED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    DECODING_FIELD_NUMBER: _ClassVar[int]
    free_pages: int
    total_pages: int
    sessions: int
    queued_tokens: int
    decoding: int
    def __init__(self, free_pages: _Optional[int] = ..., total_pages: _Optional[int] = ..., sessions: _Optional[int] = ..., queued_tokens: _Optional[int] = ..., decoding: _Optional[int] = ...) -> None: ...

class Open(_message.Message):
    __slots__ = ("session_id", "model", "revision", "start", "stop", "wire_dtype", "max_tokens", "next", "ends_replay", "seq", "weights", "quote", "payment")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    WIRE_DTYPE_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    ENDS_REPLAY_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    QUOTE_FIELD_NUMBER: _ClassVar[int]
    PAYMENT_FIELD_NUMBER: _ClassVar[int]
    session_id: bytes
    model: str
    revision: str
    start: int
    stop: int
    wire_dtype: DType
    max_tokens: int
    next: Endpoint
    ends_replay: bool
    seq: int
    weights: bytes
    quote: bytes
    payment: Payment
    def __init__(self, session_id: _Optional[bytes] = ..., model: _Optional[str] = ..., revision: _Optional[str] = ..., start: _Optional[int] = ..., stop: _Optional[int] = ..., wire_dtype: _Optional[_Union[DType, str]] = ..., max_tokens: _Optional[int] = ..., next: _Optional[_Union[Endpoint, _Mapping]] = ..., ends_replay: _Optional[bool] = ..., seq: _Optional[int] = ..., weights: _Optional[bytes] = ..., quote: _Optional[bytes] = ..., payment: _Optional[_Union[Payment, _Mapping]] = ...) -> None: ...

class Payment(_message.Message):
    __slots__ = ("channel", "bid", "batch", "offer", "prefill", "decode", "signature")
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    BID_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    OFFER_FIELD_NUMBER: _ClassVar[int]
    PREFILL_FIELD_NUMBER: _ClassVar[int]
    DECODE_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    channel: bytes
    bid: int
    batch: bool
    offer: bytes
    prefill: int
    decode: int
    signature: bytes
    def __init__(self, channel: _Optional[bytes] = ..., bid: _Optional[int] = ..., batch: _Optional[bool] = ..., offer: _Optional[bytes] = ..., prefill: _Optional[int] = ..., decode: _Optional[int] = ..., signature: _Optional[bytes] = ...) -> None: ...

class Opened(_message.Message):
    __slots__ = ("pushes", "load", "voucher", "owed")
    PUSHES_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    VOUCHER_FIELD_NUMBER: _ClassVar[int]
    OWED_FIELD_NUMBER: _ClassVar[int]
    pushes: bool
    load: Load
    voucher: bytes
    owed: int
    def __init__(self, pushes: _Optional[bool] = ..., load: _Optional[_Union[Load, _Mapping]] = ..., voucher: _Optional[bytes] = ..., owed: _Optional[int] = ...) -> None: ...

class Paid(_message.Message):
    __slots__ = ("voucher", "seq")
    VOUCHER_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    voucher: bytes
    seq: int
    def __init__(self, voucher: _Optional[bytes] = ..., seq: _Optional[int] = ...) -> None: ...

class PaidUp(_message.Message):
    __slots__ = ("seq", "owed")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    OWED_FIELD_NUMBER: _ClassVar[int]
    seq: int
    owed: int
    def __init__(self, seq: _Optional[int] = ..., owed: _Optional[int] = ...) -> None: ...

class Visit(_message.Message):
    __slots__ = ("queue_us", "compute_us", "batch_tokens")
    QUEUE_US_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_US_FIELD_NUMBER: _ClassVar[int]
    BATCH_TOKENS_FIELD_NUMBER: _ClassVar[int]
    queue_us: int
    compute_us: int
    batch_tokens: int
    def __init__(self, queue_us: _Optional[int] = ..., compute_us: _Optional[int] = ..., batch_tokens: _Optional[int] = ...) -> None: ...

class Step(_message.Message):
    __slots__ = ("session_id", "position", "count", "hidden", "want", "visits", "start", "seq", "replay", "seal", "receipts", "prompt")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_FIELD_NUMBER: _ClassVar[int]
    WANT_FIELD_NUMBER: _ClassVar[int]
    VISITS_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    REPLAY_FIELD_NUMBER: _ClassVar[int]
    SEAL_FIELD_NUMBER: _ClassVar[int]
    RECEIPTS_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    session_id: bytes
    position: int
    count: int
    hidden: Tensor
    want: Want
    visits: _containers.RepeatedCompositeFieldContainer[Visit]
    start: int
    seq: int
    replay: bool
    seal: bool
    receipts: _containers.RepeatedScalarFieldContainer[bytes]
    prompt: bool
    def __init__(self, session_id: _Optional[bytes] = ..., position: _Optional[int] = ..., count: _Optional[int] = ..., hidden: _Optional[_Union[Tensor, _Mapping]] = ..., want: _Optional[_Union[Want, str]] = ..., visits: _Optional[_Iterable[_Union[Visit, _Mapping]]] = ..., start: _Optional[int] = ..., seq: _Optional[int] = ..., replay: _Optional[bool] = ..., seal: _Optional[bool] = ..., receipts: _Optional[_Iterable[bytes]] = ..., prompt: _Optional[bool] = ...) -> None: ...

class Reroute(_message.Message):
    __slots__ = ("next", "answered", "seq", "shadow")
    NEXT_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    next: Endpoint
    answered: int
    seq: int
    shadow: bool
    def __init__(self, next: _Optional[_Union[Endpoint, _Mapping]] = ..., answered: _Optional[int] = ..., seq: _Optional[int] = ..., shadow: _Optional[bool] = ...) -> None: ...

class Rerouted(_message.Message):
    __slots__ = ("seq", "pushes", "complete")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    PUSHES_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    seq: int
    pushes: bool
    complete: bool
    def __init__(self, seq: _Optional[int] = ..., pushes: _Optional[bool] = ..., complete: _Optional[bool] = ...) -> None: ...

class Probe(_message.Message):
    __slots__ = ("seq",)
    SEQ_FIELD_NUMBER: _ClassVar[int]
    seq: int
    def __init__(self, seq: _Optional[int] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("seq", "received", "computed", "load", "last_seq")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    COMPUTED_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQ_FIELD_NUMBER: _ClassVar[int]
    seq: int
    received: int
    computed: int
    load: Load
    last_seq: int
    def __init__(self, seq: _Optional[int] = ..., received: _Optional[int] = ..., computed: _Optional[int] = ..., load: _Optional[_Union[Load, _Mapping]] = ..., last_seq: _Optional[int] = ...) -> None: ...

class Fetch(_message.Message):
    __slots__ = ("seq", "position", "count")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    seq: int
    position: int
    count: int
    def __init__(self, seq: _Optional[int] = ..., position: _Optional[int] = ..., count: _Optional[int] = ...) -> None: ...

class Rows(_message.Message):
    __slots__ = ("seq", "hidden")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    HIDDEN_FIELD_NUMBER: _ClassVar[int]
    seq: int
    hidden: Tensor
    def __init__(self, seq: _Optional[int] = ..., hidden: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class Seal(_message.Message):
    __slots__ = ("seq", "first", "sketches")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    SKETCHES_FIELD_NUMBER: _ClassVar[int]
    seq: int
    first: int
    sketches: bool
    def __init__(self, seq: _Optional[int] = ..., first: _Optional[int] = ..., sketches: _Optional[bool] = ...) -> None: ...

class Sealed(_message.Message):
    __slots__ = ("seq", "receipts", "sketches")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    RECEIPTS_FIELD_NUMBER: _ClassVar[int]
    SKETCHES_FIELD_NUMBER: _ClassVar[int]
    seq: int
    receipts: _containers.RepeatedScalarFieldContainer[bytes]
    sketches: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, seq: _Optional[int] = ..., receipts: _Optional[_Iterable[bytes]] = ..., sketches: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Leaving(_message.Message):
    __slots__ = ("within_ms",)
    WITHIN_MS_FIELD_NUMBER: _ClassVar[int]
    within_ms: int
    def __init__(self, within_ms: _Optional[int] = ...) -> None: ...

class Bundle(_message.Message):
    __slots__ = ("steps",)
    STEPS_FIELD_NUMBER: _ClassVar[int]
    steps: _containers.RepeatedCompositeFieldContainer[Step]
    def __init__(self, steps: _Optional[_Iterable[_Union[Step, _Mapping]]] = ...) -> None: ...

class Failure(_message.Message):
    __slots__ = ("code", "message", "session_id", "load", "start")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    session_id: bytes
    load: Load
    start: int
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., session_id: _Optional[bytes] = ..., load: _Optional[_Union[Load, _Mapping]] = ..., start: _Optional[int] = ...) -> None: ...

class ToServer(_message.Message):
    __slots__ = ("open", "step", "reroute", "probe", "fetch", "seal", "paid")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    REROUTE_FIELD_NUMBER: _ClassVar[int]
    PROBE_FIELD_NUMBER: _ClassVar[int]
    FETCH_FIELD_NUMBER: _ClassVar[int]
    SEAL_FIELD_NUMBER: _ClassVar[int]
    PAID_FIELD_NUMBER: _ClassVar[int]
    open: Open
    step: Step
    reroute: Reroute
    probe: Probe
    fetch: Fetch
    seal: Seal
    paid: Paid
    def __init__(self, open: _Optional[_Union[Open, _Mapping]] = ..., step: _Optional[_Union[Step, _Mapping]] = ..., reroute: _Optional[_Union[Reroute, _Mapping]] = ..., probe: _Optional[_Union[Probe, _Mapping]] = ..., fetch: _Optional[_Union[Fetch, _Mapping]] = ..., seal: _Optional[_Union[Seal, _Mapping]] = ..., paid: _Optional[_Union[Paid, _Mapping]] = ...) -> None: ...

class ToClient(_message.Message):
    __slots__ = ("opened", "result", "relay", "failure", "rerouted", "progress", "leaving", "rows", "sealed", "paid_up")
    OPENED_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    RELAY_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    REROUTED_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    LEAVING_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    SEALED_FIELD_NUMBER: _ClassVar[int]
    PAID_UP_FIELD_NUMBER: _ClassVar[int]
    opened: Opened
    result: Step
    relay: Step
    failure: Failure
    rerouted: Rerouted
    progress: Progress
    leaving: Leaving
    rows: Rows
    sealed: Sealed
    paid_up: PaidUp
    def __init__(self, opened: _Optional[_Union[Opened, _Mapping]] = ..., result: _Optional[_Union[Step, _Mapping]] = ..., relay: _Optional[_Union[Step, _Mapping]] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ..., rerouted: _Optional[_Union[Rerouted, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., leaving: _Optional[_Union[Leaving, _Mapping]] = ..., rows: _Optional[_Union[Rows, _Mapping]] = ..., sealed: _Optional[_Union[Sealed, _Mapping]] = ..., paid_up: _Optional[_Union[PaidUp, _Mapping]] = ...) -> None: ...

class DepositPiece(_message.Message):
    __slots__ = ("data", "digest", "nbytes")
    DATA_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    NBYTES_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    digest: bytes
    nbytes: int
    def __init__(self, data: _Optional[bytes] = ..., digest: _Optional[bytes] = ..., nbytes: _Optional[int] = ...) -> None: ...

class Deposited(_message.Message):
    __slots__ = ("failure",)
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    failure: Failure
    def __init__(self, failure: _Optional[_Union[Failure, _Mapping]] = ...) -> None: ...

class Withdrawal(_message.Message):
    __slots__ = ("digest",)
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    digest: bytes
    def __init__(self, digest: _Optional[bytes] = ...) -> None: ...

class WithdrawnPiece(_message.Message):
    __slots__ = ("data", "failure")
    DATA_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    failure: Failure
    def __init__(self, data: _Optional[bytes] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ...) -> None: ...

class Tender(_message.Message):
    __slots__ = ("order", "commitment", "commitments")
    ORDER_FIELD_NUMBER: _ClassVar[int]
    COMMITMENT_FIELD_NUMBER: _ClassVar[int]
    COMMITMENTS_FIELD_NUMBER: _ClassVar[int]
    order: bytes
    commitment: bytes
    commitments: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, order: _Optional[bytes] = ..., commitment: _Optional[bytes] = ..., commitments: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Tendered(_message.Message):
    __slots__ = ("commitment", "bid", "failure")
    COMMITMENT_FIELD_NUMBER: _ClassVar[int]
    BID_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    commitment: bytes
    bid: bytes
    failure: Failure
    def __init__(self, commitment: _Optional[bytes] = ..., bid: _Optional[bytes] = ..., failure: _Optional[_Union[Failure, _Mapping]] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ("padding", "greeting")
    PADDING_FIELD_NUMBER: _ClassVar[int]
    GREETING_FIELD_NUMBER: _ClassVar[int]
    padding: bytes
    greeting: bytes
    def __init__(self, padding: _Optional[bytes] = ..., greeting: _Optional[bytes] = ...) -> None: ...

class Status(_message.Message):
    __slots__ = ("record", "load", "tokens_served", "bytes_pushed", "bytes_to_clients", "records_rejected", "block_digests")
    RECORD_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    TOKENS_SERVED_FIELD_NUMBER: _ClassVar[int]
    BYTES_PUSHED_FIELD_NUMBER: _ClassVar[int]
    BYTES_TO_CLIENTS_FIELD_NUMBER: _ClassVar[int]
    RECORDS_REJECTED_FIELD_NUMBER: _ClassVar[int]
    BLOCK_DIGESTS_FIELD_NUMBER: _ClassVar[int]
    record: PeerRecord
    load: Load
    tokens_served: int
    bytes_pushed: int
    bytes_to_clients: int
    records_rejected: int
    block_digests: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, record: _Optional[_Union[PeerRecord, _Mapping]] = ..., load: _Optional[_Union[Load, _Mapping]] = ..., tokens_served: _Optional[int] = ..., bytes_pushed: _Optional[int] = ..., bytes_to_clients: _Optional[int] = ..., records_rejected: _Optional[int] = ..., block_digests: _Optional[_Iterable[bytes]] = ...) -> None: ...

class PeerRecord(_message.Message):
    __slots__ = ("version", "peer_id", "model", "revision", "start", "stop", "num_blocks", "dtype", "endpoint", "state", "issued_ms", "expires_ms", "load", "software", "quant", "numerics_id", "costs", "pinned", "max_blocks", "weights", "attestation", "quote", "unsigned", "paused", "instance", "loaded")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PEER_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    NUM_BLOCKS_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ISSUED_MS_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_MS_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    SOFTWARE_FIELD_NUMBER: _ClassVar[int]
    QUANT_FIELD_NUMBER: _ClassVar[int]
    NUMERICS_ID_FIELD_NUMBER: _ClassVar[int]
    COSTS_FIELD_NUMBER: _ClassVar[int]
    PINNED_FIELD_NUMBER: _ClassVar[int]
    MAX_BLOCKS_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    ATTESTATION_FIELD_NUMBER: _ClassVar[int]
    QUOTE_FIELD_NUMBER: _ClassVar[int]
    UNSIGNED_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    LOADED_FIELD_NUMBER: _ClassVar[int]
    version: int
    peer_id: str
    model: str
    revision: str
    start: int
    stop: int
    num_blocks: int
    dtype: str
    endpoint: Endpoint
    state: PeerState
    issued_ms: int
    expires_ms: int
    load: Load
    software: str
    quant: str
    numerics_id: str
    costs: Costs
    pinned: bool
    max_blocks: int
    weights: bytes
    attestation: bytes
    quote: Quote
    unsigned: bool
    paused: str
    instance: bytes
    loaded: int
    def __init__(self, version: _Optional[int] = ..., peer_id: _Optional[str] = ..., model: _Optional[str] = ..., revision: _Optional[str] = ..., start: _Optional[int] = ..., stop: _Optional[int] = ..., num_blocks: _Optional[int] = ..., dtype: _Optional[str] = ..., endpoint: _Optional[_Union[Endpoint, _Mapping]] = ..., state: _Optional[_Union[PeerState, str]] = ..., issued_ms: _Optional[int] = ..., expires_ms: _Optional[int] = ..., load: _Optional[_Union[Load, _Mapping]] = ..., software: _Optional[str] = ..., quant: _Optional[str] = ..., numerics_id: _Optional[str] = ..., costs: _Optional[_Union[Costs, _Mapping]] = ..., pinned: _Optional[bool] = ..., max_blocks: _Optional[int] = ..., weights: _Optional[bytes] = ..., attestation: _Optional[bytes] = ..., quote: _Optional[_Union[Quote, _Mapping]] = ..., unsigned: _Optional[bool] = ..., paused: _Optional[str] = ..., instance: _Optional[bytes] = ..., loaded: _Optional[int] = ...) -> None: ...

class Quote(_message.Message):
    __slots__ = ("ledger", "mode", "prefill", "decode", "idle_prefill", "idle_decode", "credit_tokens")
    LEDGER_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    PREFILL_FIELD_NUMBER: _ClassVar[int]
    DECODE_FIELD_NUMBER: _ClassVar[int]
    IDLE_PREFILL_FIELD_NUMBER: _ClassVar[int]
    IDLE_DECODE_FIELD_NUMBER: _ClassVar[int]
    CREDIT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    ledger: bytes
    mode: str
    prefill: int
    decode: int
    idle_prefill: int
    idle_decode: int
    credit_tokens: int
    def __init__(self, ledger: _Optional[bytes] = ..., mode: _Optional[str] = ..., prefill: _Optional[int] = ..., decode: _Optional[int] = ..., idle_prefill: _Optional[int] = ..., idle_decode: _Optional[int] = ..., credit_tokens: _Optional[int] = ...) -> None: ...

class Costs(_message.Message):
    __slots__ = ("decode_us", "prefill_us", "queue_us", "started_ms", "links", "step_us", "threads", "cores", "machine", "row_us")
    DECODE_US_FIELD_NUMBER: _ClassVar[int]
    PREFILL_US_FIELD_NUMBER: _ClassVar[int]
    QUEUE_US_FIELD_NUMBER: _ClassVar[int]
    STARTED_MS_FIELD_NUMBER: _ClassVar[int]
    LINKS_FIELD_NUMBER: _ClassVar[int]
    STEP_US_FIELD_NUMBER: _ClassVar[int]
    THREADS_FIELD_NUMBER: _ClassVar[int]
    CORES_FIELD_NUMBER: _ClassVar[int]
    MACHINE_FIELD_NUMBER: _ClassVar[int]
    ROW_US_FIELD_NUMBER: _ClassVar[int]
    decode_us: _containers.RepeatedScalarFieldContainer[float]
    prefill_us: float
    queue_us: float
    started_ms: int
    links: _containers.RepeatedCompositeFieldContainer[NeighbourLink]
    step_us: float
    threads: int
    cores: int
    machine: bytes
    row_us: float
    def __init__(self, decode_us: _Optional[_Iterable[float]] = ..., prefill_us: _Optional[float] = ..., queue_us: _Optional[float] = ..., started_ms: _Optional[int] = ..., links: _Optional[_Iterable[_Union[NeighbourLink, _Mapping]]] = ..., step_us: _Optional[float] = ..., threads: _Optional[int] = ..., cores: _Optional[int] = ..., machine: _Optional[bytes] = ..., row_us: _Optional[float] = ...) -> None: ...

class NeighbourLink(_message.Message):
    __slots__ = ("peer_id", "round_trip_us", "bytes_per_s")
    PEER_ID_FIELD_NUMBER: _ClassVar[int]
    ROUND_TRIP_US_FIELD_NUMBER: _ClassVar[int]
    BYTES_PER_S_FIELD_NUMBER: _ClassVar[int]
    peer_id: str
    round_trip_us: float
    bytes_per_s: float
    def __init__(self, peer_id: _Optional[str] = ..., round_trip_us: _Optional[float] = ..., bytes_per_s: _Optional[float] = ...) -> None: ...

class SignedRecord(_message.Message):
    __slots__ = ("payload", "signature")
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    payload: bytes
    signature: bytes
    def __init__(self, payload: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...
