"""What time it is, as messages and files have it."""

import time


def now_ms() -> int:
    """Unix time in milliseconds, by this machine's clock."""
    return int(time.time() * 1000)
