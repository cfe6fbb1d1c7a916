"""What one node of the directory stores for others, bounded where a flood of fresh keys or names could fill it."""

import random

from hivemind.dht.routing import DHTID, BinaryDHTValue, Subkey
from hivemind.dht.storage import DHTLocalStorage, DictionaryDHTValue
from hivemind.utils.timed_storage import DHTExpiration

from swarm.peers.convictions import parties

MAX_PER_MODEL = 256  # convictions: 1 MiB at most, which still travels in one message
MAX_PER_ANNOUNCER = 8  # for one model
MAX_MODELS = 256  # that are listed: likewise
MODELS_KEY = "swarm/v1-models"  # a dictionary from models' names to a record of one peer each, whichever came last
_LIST_OF_MODELS = DHTID.generate(source=MODELS_KEY)


class BoundedStorage(DHTLocalStorage):  # type: ignore[misc]  # hivemind has no annotations
    """Holds at most so many convictions, and models in the list of all. Where there is no more room, one drawn at
    random gives way: who comes first cannot keep others out, and who is pushed out comes again."""

    def store_subkey(self, key: DHTID, subkey: Subkey, value: BinaryDHTValue, expiration_time: DHTExpiration) -> bool:
        """See DHTLocalStorage; also False if there is no room for another one by the same announcer."""
        names, held = parties(subkey), self.get(key)
        if held is not None and isinstance(held.value, DictionaryDHTValue):
            if key == _LIST_OF_MODELS:
                _make_room(held.value, subkey, MAX_MODELS)
            elif names and not _has_room(held.value, subkey, announcer=names[1]):
                return False
        return bool(super().store_subkey(key, subkey, value, expiration_time))


def _has_room(held: DictionaryDHTValue, subkey: str, announcer: str) -> bool:
    """Whether there is room for `subkey` among the convictions `held`, if need be by letting another go."""
    if sum(name.endswith(f"/{announcer}") for name, _ in held.items() if name != subkey) >= MAX_PER_ANNOUNCER:
        return False
    _make_room(held, subkey, MAX_PER_MODEL)
    return True


def _make_room(held: DictionaryDHTValue, subkey: str, most: int) -> None:
    others = [name for name, _ in held.items() if name != subkey]
    if len(others) >= most:
        del held[random.choice(others)]
