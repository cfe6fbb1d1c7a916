"""libp2p daemons of this process's nodes, for tests that harm them."""

import psutil

from swarm.peers.directory import Directory


async def daemon_of(directory: Directory) -> psutil.Process:
    """The program below `directory`'s node."""
    (address, *_) = await directory.addresses()
    return daemon_at(int(address.split("/")[4]))


def daemon_at(port: int, parent: psutil.Process | None = None) -> psutil.Process:
    """That listens there; parent: whose it is, by default this process's."""
    for process in (parent or psutil.Process()).children(recursive=True):
        if process.name() == "p2pd" and any(one.laddr.port == port for one in process.net_connections("tcp")):
            return process
    raise LookupError(f"no libp2p daemon listens at port {port}")
