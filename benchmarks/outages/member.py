"""One peer of a swarm that only announces itself, and says every second how many others it sees.

python member.py HOST [ADDRESS ...]
"""

import asyncio
import json
import sys
import time

from swarm.peers.directory import Directory
from swarm.wire import messages_pb2 as pb
from swarm.wire.identity import Identity

RECORD_LIFE_S = 30.0
MODEL = "outages"


async def run(host: str, peers: list[str]) -> None:
    identity = Identity()
    directory = await Directory.join(peers, host="0.0.0.0")
    print(json.dumps({"peer_id": identity.peer_id, "addresses": await directory.addresses()}), flush=True)
    record = pb.PeerRecord(
        version=1, peer_id=identity.peer_id, model=MODEL, revision="r", start=0, stop=1, num_blocks=1, dtype="float32",
        quant="none", state=pb.ONLINE,
        endpoint=pb.Endpoint(peer_id=identity.peer_id, host=host, port=1, certificate=b"x"),
    )  # fmt: skip

    async def announce() -> None:
        while True:
            await directory.publish(record, identity, RECORD_LIFE_S)
            await asyncio.sleep(RECORD_LIFE_S / 3)

    announcing = asyncio.create_task(announce())
    while not announcing.done():
        seen = await directory.peers(MODEL)
        print(json.dumps({"time_s": time.time(), "seen": sorted(one.peer_id for one in seen)}), flush=True)
        await asyncio.sleep(1.0)
    announcing.result()


asyncio.run(run(sys.argv[1], sys.argv[2:]))
