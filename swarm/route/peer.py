"""What a search for a chain knows of a peer: what its directory record says."""

import math
from dataclasses import dataclass, field

from swarm import shown
from swarm.errors import InvalidRequest
from swarm.route.costs import BATCHES, Link, PeerCosts
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.facts import Facts
from swarm.wire.formats.quotes import FREE_QUOTE, Quote
from swarm.wire.hosts import join_address
from swarm.wire.peer_names import short_id

MAX_LINKS = 16  # to neighbours, that a record may name


@dataclass(frozen=True)
class PeerInfo:
    """A verified directory record."""

    peer_id: str
    model: str
    revision: str
    start: int  # first block served
    stop: int  # one past the last
    num_blocks: int  # of the whole model
    dtype: str  # of activations and cache, and of weights that are not quantised
    quant: str
    numerics_id: str  # peers with the same one compute the same bits; empty: nothing promised
    endpoint: pb.Endpoint
    state: int  # pb.PeerState
    issued_ms: int
    expires_ms: int
    load: pb.Load
    costs: PeerCosts = field(default_factory=PeerCosts)
    pinned: bool = True  # its contributor chose the blocks: they do not move
    max_blocks: int = 0  # as many as it has memory for; 0: not said
    weights: bytes = b""  # root of the digests of the blocks that it serves (see model/identity.py); empty: not said
    record_hash: bytes = b""  # SHA-256 of the record as it was signed
    asks: Quote = FREE_QUOTE  # what it wants for its work
    facts: Facts | None = None  # what `attestation` is to be about
    attestation: bytes = b""  # for the client's verifier to judge; nothing of it is checked here
    unsigned: bool = False  # it signs no receipts for its work
    paused: str = ""  # why it takes no new sessions for now, in its own words; empty: it takes them
    instance: bytes = b""  # of the process that says so, one a start; empty: not said
    loaded: int = 0  # blocks read so far, of one that is joining

    @classmethod
    def of(cls, record: pb.PeerRecord, record_hash: bytes = b"") -> "PeerInfo":
        """What `record` says. Raises InvalidRequest if its costs are no figures, or its quote no quote."""
        return cls(
            peer_id=record.peer_id,
            model=record.model,
            revision=record.revision,
            start=record.start,
            stop=record.stop,
            num_blocks=record.num_blocks,
            dtype=record.dtype,
            quant=record.quant or "none",
            numerics_id=record.numerics_id,
            endpoint=record.endpoint,
            state=record.state,
            issued_ms=record.issued_ms,
            expires_ms=record.expires_ms,
            load=record.load,
            costs=_costs(record.costs),
            pinned=record.pinned,
            max_blocks=record.max_blocks or record.stop - record.start,
            weights=record.weights,
            record_hash=record_hash,
            asks=Quote.of(record.quote),
            facts=Facts.of(record),
            attestation=record.attestation,
            unsigned=record.unsigned,
            paused="".join(one if one.isprintable() else "?" for one in record.paused),
            instance=record.instance,
            loaded=min(record.loaded, record.stop - record.start),
        )

    def __repr__(self) -> str:
        where = join_address(self.endpoint.host, self.endpoint.port)
        return f"<PeerInfo {short_id(self.peer_id)} {shown.span(self.blocks)} of {self.model}, {self.format}, {where}>"

    @property
    def blocks(self) -> tuple[int, int]:
        return self.start, self.stop

    @property
    def format(self) -> str:
        """Of weights and of activations, as receipts name it: "int4/bfloat16"."""
        return f"{self.quant}/{self.dtype}"


def _costs(message: pb.Costs) -> PeerCosts:
    """What a record claims, checked: a figure that is no time makes the whole record invalid."""
    times = [*message.decode_us, message.prefill_us, message.queue_us, message.step_us, message.row_us]
    times += [figure for link in message.links for figure in (link.round_trip_us, link.bytes_per_s)]
    if not all(math.isfinite(figure) and figure >= 0 for figure in times):
        raise InvalidRequest("a directory record whose costs are not numbers from 0 up")
    if len(message.decode_us) > len(BATCHES) or len(message.links) > MAX_LINKS:
        raise InvalidRequest(f"a directory record with {len(message.decode_us)} times and {len(message.links)} links")
    if any(figure == 0 for figure in message.decode_us) or any(link.bytes_per_s == 0 for link in message.links):
        raise InvalidRequest("a directory record that claims to compute or to send in no time")
    return PeerCosts(
        decode_s=tuple(figure / 1e6 for figure in message.decode_us),
        prefill_s=message.prefill_us / 1e6,
        queue_s=message.queue_us / 1e6,
        started_ms=message.started_ms,
        links={link.peer_id: Link(link.round_trip_us / 1e6, link.bytes_per_s) for link in message.links},
        step_s=message.step_us / 1e6,
        threads=message.threads,
        cores=message.cores,
        machine=message.machine,
        row_s=message.row_us / 1e6,
    )
