"""Addresses of peers, as multiaddresses. Imports nothing heavy."""

import re

from swarm.errors import InvalidRequest

FORM = "/ip4/ADDRESS/tcp/PORT/p2p/PEER_ID, as a server prints it"
_PEER = re.compile(r"^/(ip4|ip6|dns|dns4|dns6)/[^/]+/(tcp|udp)/\d{1,5}(/quic(-v1)?)?/p2p/[1-9A-HJ-NP-Za-km-z]{20,80}$")


def check_peer_address(text: str) -> None:
    """Raises InvalidRequest for what is none."""
    if not _PEER.match(text):
        raise InvalidRequest(f"{text!r:.80} is not a peer address; the form is {FORM}")
