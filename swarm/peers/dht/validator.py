"""What the directory takes: entries that verify, under the key of their model, or in the list of all models."""

from dataclasses import dataclass

from hivemind.dht.crypto import DHTRecord
from hivemind.dht.routing import DHTID
from hivemind.dht.validation import RecordValidatorBase
from hivemind.utils import MSGPackSerializer

from swarm.errors import InvalidRequest
from swarm.peers import convictions
from swarm.peers import record as records
from swarm.peers.convictions import MAX_CONVICTION_BYTES, Conviction
from swarm.peers.dht.bounded_storage import MODELS_KEY
from swarm.route.peer import PeerInfo

_MODELS_ID = DHTID.generate(source=MODELS_KEY).to_bytes()


@dataclass
class Rejections:
    """How many directory records were ignored, and why the last one was."""

    count: int = 0
    last_reason: str = ""


class EntryValidator(RecordValidatorBase):  # type: ignore[misc]  # hivemind has no annotations
    """Admits to the DHT only records that verify, under the key of their model and the subkey of their peer, and
    convictions likewise."""

    def __init__(self, rejections: Rejections):
        self._rejections = rejections

    def validate(self, record: DHTRecord) -> bool:
        try:
            most = max(records.MAX_RECORD_BYTES, MAX_CONVICTION_BYTES)
            if len(record.value) > most + 16 or len(record.subkey) > 256:
                raise InvalidRequest("an oversized directory entry")
            self._check(record)
        except InvalidRequest as error:
            self._rejections.count += 1
            self._rejections.last_reason = str(error)
            return False
        return True

    def _check(self, record: DHTRecord) -> None:
        subkey, value = _unpack(record.subkey), _unpack(record.value)
        if not isinstance(value, bytes) or not isinstance(subkey, str):
            raise InvalidRequest("a directory entry that is not a peer record")
        entry: Conviction | PeerInfo
        if convictions.parties(subkey):
            entry = said = convictions.verify(value)
            name, key = said.subkey, convictions.dht_key(said.model)
        else:
            entry = info = records.verify(value)
            in_list = record.key == _MODELS_ID
            name, key = (info.model, MODELS_KEY) if in_list else (info.peer_id, records_key(info.model))
        if subkey != name:
            raise InvalidRequest("a directory record under another name than its own")
        if record.key != DHTID.generate(source=key).to_bytes():
            raise InvalidRequest("a directory record under another model's key")
        # The DHT prefers what expires last: an old record must not be given a longer life than its signer gave it.
        if abs(record.expiration_time - entry.expires_ms / 1000) > 1:
            raise InvalidRequest("a directory record whose expiry was changed")


def _unpack(data: bytes) -> object:
    try:
        return MSGPackSerializer.loads(data)
    except Exception as error:  # msgpack raises its own, ValueError, TypeError, ... on hostile bytes
        raise InvalidRequest("a directory entry that is not msgpack") from error


def records_key(model: str) -> str:
    """Of the records of the peers that serve `model`, in the DHT."""
    return f"swarm/v1/{model}"
