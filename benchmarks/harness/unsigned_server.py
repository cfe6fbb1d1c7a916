"""The ordinary server, but it signs nothing: what receipts cost is measured against it (see receipts.py)."""

import sys
from collections.abc import Sequence

from swarm.cli.server import main
from swarm.server import rpc as handler


class NoReceipts:
    """In the place of swarm.verify.receipts.writing.ReceiptWriter."""

    def __init__(self, *arguments: object):
        pass

    def record(self, *arguments: object) -> None:
        pass

    def seal(self, before: Sequence[bytes] = ()) -> None:
        pass

    def take(self) -> list[bytes]:
        return []

    def since(self, index: int) -> tuple[list[bytes], list[bytes]]:
        return [], []


if __name__ == "__main__":
    handler.ReceiptWriter = NoReceipts
    sys.exit(main())
