"""Time that a test decides."""


class Clock:
    """Stands still until it is set."""

    def __init__(self, now_s: float = 0.0):
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s
