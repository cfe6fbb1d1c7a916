"""Paying, closing an epoch, and what it emitted."""

from hypothesis import strategies as st

from ledgers import World
from swarm.market.ledger.ledger import Rules
from swarm.market.pricing.market import Market
from swarm.market.rewards.closing import Closer, Plan
from swarm.wire.formats.quotes import FREE

HALF_BACK = Plan(Market(FREE, mints_ppm=500_000), emission=10**6)

BURNS = Rules(withdraw_delay_s=1_000, unbonding_s=5_000, burn_ppm=100_000)


def pay(world: World, client: str, server: bytes, amount: int) -> None:
    """Settled at once."""
    payer = getattr(world, client)
    world.issuer.mint(payer.address, amount)
    channel = payer.open_channel(server, amount)
    world.carol.settle([world.voucher(channel, amount, by=client)])


def close(world: World, plan: Plan) -> dict[bytes, int]:
    """The running epoch; what is minted for it."""
    closer = Closer(world.issuer, plan)
    assert closer.step().payments is None
    world.advance(plan.reveal_s + 1)
    closed = closer.step()
    return dict(closed.payments) if closed else {}


# --- burn and mint ---------------------------------------------------------------------------------------------------

payments = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 10**9)), max_size=8)
