"""What a client remembers of peers: the seam for whoever keeps it."""


class Reputation:
    """Of one client, by peer id. This one keeps nothing: every peer is a stranger. Any thread may use it."""

    def crashed(self, peer_id: str) -> None:
        """It vanished, hung, or broke off in the middle of something."""

    def faulted(self, peer_id: str) -> None:
        """It said something of itself that is wrong."""

    def observe_speed(self, peer_id: str, log: float) -> None:
        """By all that was measured, it takes exp(`log`) times as long as it announces."""

    def lag(self, peer_id: str) -> float:
        """What `observe_speed` was given last, at another time perhaps; 0 for a stranger."""
        return 0.0

    def slowdown(self, peer_id: str) -> float:
        """How many times slower than it is it should look to the search for a chain; at least 1."""
        return 1.0

    def is_shunned(self, peer_id: str) -> bool:
        """Whether it is not to be used at all."""
        return False

    def close(self) -> None:
        """Keep what was observed last. May wait for a disk."""
