"""The service's methods that a server without receipts or without prices answers with a refusal."""

from collections.abc import AsyncIterator

import grpc

from swarm.errors import InvalidRequest
from swarm.wire import messages_pb2 as pb
from swarm.wire.failures import failure

_NO_EVIDENCE = InvalidRequest("this peer keeps no evidence for others")
_NO_BIDS = InvalidRequest("this peer makes no bids; what it asks is in the directory")


async def refuse_deposit(requests: AsyncIterator[pb.DepositPiece], context: object) -> pb.Deposited:
    return pb.Deposited(failure=failure(_NO_EVIDENCE))


async def refuse_withdrawal(
    request: pb.Withdrawal, context: grpc.aio.ServicerContext[pb.Withdrawal, pb.WithdrawnPiece]
) -> None:
    await context.write(pb.WithdrawnPiece(failure=failure(_NO_EVIDENCE)))


async def refuse_tender(request: pb.Tender, context: object) -> pb.Tendered:
    return pb.Tendered(failure=failure(_NO_BIDS))
