"""What one node of the directory stores for others, bounded where a flood of fresh keys could fill it."""

import random

from hivemind.dht.routing import DHTID, BinaryDHTValue, Subkey
from hivemind.dht.storage import DHTLocalStorage, DictionaryDHTValue
from hivemind.utils.timed_storage import DHTExpiration

from swarm.peers.convictions import parties

MAX_PER_MODEL = 256  # convictions: 1 MiB at most, which still travels in one message
MAX_PER_ANNOUNCER = 8  # for one model


class BoundedStorage(DHTLocalStorage):  # type: ignore[misc]  # hivemind has no annotations
    """Holds at most so many convictions. Where there is no more room, one drawn at random gives way: who comes first
    cannot keep others out, and who is pushed out comes again."""

    def store_subkey(self, key: DHTID, subkey: Subkey, value: BinaryDHTValue, expiration_time: DHTExpiration) -> bool:
        """See DHTLocalStorage; also False if there is no room for another one by the same announcer."""
        names, held = parties(subkey), self.get(key)
        if names and held is not None and isinstance(held.value, DictionaryDHTValue):
            _, announcer = names
            if not _has_room(held.value, subkey, announcer):
                return False
        return bool(super().store_subkey(key, subkey, value, expiration_time))


def _has_room(held: DictionaryDHTValue, subkey: str, announcer: str) -> bool:
    """Whether there is room for `subkey` among the convictions `held`, if need be by letting another go."""
    others = [name for name, _ in held.items() if name != subkey]
    if sum(name.endswith(f"/{announcer}") for name in others) >= MAX_PER_ANNOUNCER:
        return False
    if len(others) >= MAX_PER_MODEL:
        del held[random.choice(others)]
    return True
