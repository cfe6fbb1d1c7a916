"""How far a server works on credit."""

from hypothesis import given
from hypothesis import strategies as st

from shop import CLIENT, PRICE, SERVER
from swarm.market.channel.receivable import Receivable, Tab
from swarm.market.channel.vouchers import Voucher
from swarm.market.ledger.ledger import Channel
from swarm.wire.formats.quotes import Price
from swarm.wire.formats.receipts import NOTHING, Tokens

# --- credit ----------------------------------------------------------------------------------------------------------


def test_work_stops_at_the_credit_and_goes_on_with_a_voucher(shop, channel):
    tab = shop.open(channel)
    done = 0
    while tab.begin(Tokens(decode=1)):
        done += 1
        tab.progress(Tokens(decode=done), Tokens())
    assert done == 64
    shop.accept(tab, shop.pay(channel, tab.due // 2))
    assert tab.begin(Tokens(decode=32))


def test_a_client_that_never_pays_gets_one_credit_however_many_sessions_it_opens(shop, channel):
    done = 0
    for _ in range(10):
        tab = shop.open(channel)
        own = 0
        while tab.begin(Tokens(decode=1)):
            own += 1
            tab.progress(Tokens(decode=own), Tokens())
        tab.drop()
        done += own
    assert done == 64


def test_no_work_is_done_beyond_the_deposit(shop):
    small = shop.ledger.open_channel(SERVER.address, 10 * PRICE.decode * 3)
    tab = shop.open(small)
    assert tab.begin(Tokens(decode=3))
    tab.progress(Tokens(decode=3), Tokens())
    assert not tab.begin(Tokens(decode=1))


def test_what_is_rewound_is_owed_all_the_same(shop, channel):
    """Else a client would compute one answer after another from the same prompt, and pay for one."""
    tab = shop.open(channel)
    for _ in range(3):
        assert tab.begin(Tokens(decode=10))
        tab.progress(Tokens(decode=10), Tokens())
        tab.progress(Tokens(), Tokens())
    assert tab.receivable.owed == 3 * tab.value(Tokens(decode=10))


_ACTIONS = st.lists(st.tuples(
    st.sampled_from(["begin", "progress", "rewind", "pay", "end"]), st.integers(0, 2), st.integers(1, 100)
), max_size=60)  # fmt: skip


@given(_ACTIONS)
def test_whatever_sessions_do_no_more_than_the_credit_is_unpaid(actions):
    """Three sessions on one channel: what is unpaid, with the work that has begun, stays within the credit."""
    channel = Channel(bytes(32), CLIENT.address, SERVER.address, deposit=50_000)
    receivable = Receivable(channel)
    credit, tabs = 6400, [Tab(receivable, Price(10, 100), 1, 6400) for _ in range(3)]
    open_steps: dict[int, Tokens] = {}
    for action, index, count in actions:
        tab = tabs[index]
        if action == "begin" and index not in open_steps:
            step = Tokens(decode=min(count, 64)) if count % 2 else Tokens(prefill=count)
            if tab.begin(step):
                open_steps[index] = step
        elif action == "progress" and index in open_steps:
            tab.progress(tab.tokens + open_steps.pop(index), Tokens())
        elif action == "rewind":
            tab.progress(Tokens(tab.tokens.prefill, max(tab.tokens.decode - count, 0)), open_steps.get(index, Tokens()))
        elif action == "pay":
            amount = min(receivable.paid + 10 * count, receivable.owed)
            receivable.accept(Voucher(bytes(32), channel.id, amount, NOTHING).sign(CLIENT))
        elif action == "end":
            tab.drop()
            open_steps.pop(index, None)
        assert 0 <= receivable.begun == sum(tabs[place].value(step) for place, step in open_steps.items())
        assert receivable.owed - receivable.paid + receivable.begun <= credit
        assert receivable.owed + receivable.begun <= channel.deposit
