"""Prices that follow demand and come to rest; what is burned and minted; points that cannot be hoarded."""

import dataclasses
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.marketplace import Setting, trace
from swarm.errors import InvalidRequest
from swarm.market.auction.auction import Auction
from swarm.market.pricing.contribution import MOST_PPM, Contribution
from swarm.market.pricing.fixed import Fixed
from swarm.market.pricing.market import Market
from swarm.market.pricing.policy import Demand, Epoch, Work
from swarm.market.rewards.rewards import Rewards
from swarm.market.shares import split
from swarm.wire.formats.quotes import FREE, MAX_PRICE, MODES, Price

BASE = Price(200, 1000)
POLICIES = (Fixed(BASE), Market(BASE), Auction(BASE), Rewards(BASE), Contribution())
utilisations = st.floats(0, 1)
ADDRESSES = [bytes([number]) * 20 for number in range(12)]
works = st.lists(
    st.builds(
        Work, st.sampled_from(ADDRESSES), st.sampled_from(ADDRESSES), st.integers(0, 10**9), st.just(0),
        st.integers(0, 10**12),
    ),
    max_size=20,
)  # fmt: skip


def work(server: bytes, client: bytes, block_tokens: int = 1000, burned: int = 0) -> Work:
    return Work(server, client, block_tokens, burned, burned)


# --- every policy ----------------------------------------------------------------------------------------------------


def test_there_is_a_policy_for_every_mode_that_a_quote_may_name():
    assert sorted(policy.mode for policy in POLICIES) == sorted(MODES)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.mode)
@given(utilisation=utilisations)
def test_a_batch_session_is_half_off_on_a_server_that_is_half_idle_and_never_dearer(policy, utilisation):
    idle, price = policy.idle_price(Demand(utilisation)), policy.price
    assert all(0 <= batch <= full for batch, full in zip(idle, price, strict=True))
    if utilisation <= 0.5:
        assert all(2 * batch <= full for batch, full in zip(idle, price, strict=True))


def test_a_full_server_gives_no_discount_and_the_discount_shrinks_evenly():
    prices = [Fixed(BASE).idle_price(Demand(u)).decode for u in (0.0, 0.5, 0.75, 1.0)]
    assert prices == [500, 500, 750, 1000]


@pytest.mark.parametrize("utilisation", [-0.1, 1.1, float("nan")])
def test_utilisation_that_is_no_share_is_refused(utilisation):
    with pytest.raises(InvalidRequest, match="utilisation"):
        Demand(utilisation)


@pytest.mark.parametrize("price", [Price(-1, 0), Price(0, MAX_PRICE + 1), Price(0, 1.5)])
def test_a_price_that_no_quote_can_carry_is_refused(price):
    for policy in (Fixed, Auction, Rewards):
        with pytest.raises(InvalidRequest, match="price"):
            policy(price)


@given(st.integers(0, 10**15), st.dictionaries(st.sampled_from(ADDRESSES), st.integers(0, 10**15)))
def test_parts_add_up_to_the_whole_and_are_within_one_of_their_exact_share(total, weights):
    parts, whole = split(total, weights), sum(weights.values())
    assert sum(parts.values()) == (total if whole else 0)
    for address, part in parts.items():
        assert abs(part * whole - total * weights[address]) < whole


# --- market ----------------------------------------------------------------------------------------------------------


@given(st.lists(utilisations, min_size=1, max_size=60), st.integers(1, 10**6), st.integers(1, 10**6))
def test_a_price_moves_by_an_eighth_at_most_and_stays_between_floor_and_cap(seen, prefill, decode):
    market = Market(Price(prefill, decode))
    for utilisation in seen:
        before, market = market.controller.level, market.observe(Demand(utilisation))
        assert 0.875 * before - 1 <= market.controller.level <= 1.125 * before + 1
        assert market.floor <= market.controller.level <= market.cap
        assert all(isinstance(part, int) and part >= 1 for part in market.price)


@given(utilisations)
def test_the_first_step_is_that_of_the_formula(utilisation):
    level = Market(BASE).observe(Demand(utilisation)).controller.level
    assert level == pytest.approx(1e6 * min(1.125, max(0.875, 2.718281828 ** (0.2 * (utilisation - 0.7)))), abs=1)


def test_a_price_of_three_nano_credits_follows_demand_though_it_cannot_move_by_an_eighth():
    market, seen = Market(Price(3, 3)), set()
    for _ in range(60):
        market = market.observe(Demand(1.0))
        seen.add(market.price.decode)
    assert seen >= {3, 4, 5, 6, 9, 12, 20, 30}
    for _ in range(200):
        market = market.observe(Demand(0.0))
    assert market.price == Price(1, 1)  # and never for nothing


@pytest.mark.parametrize("switching", [2.0, 25.0], ids=["loyal clients", "clients that go to whoever is cheapest"])
def test_prices_follow_demand_and_come_to_rest(switching):
    setting = Setting(servers=12, switching=switching)
    periods = trace(lambda: Market(Price(100, 500)), 1000, setting, [1.0] * 120 + [1.6] * 120)
    for first, resting in ((0, 1000), (120, 1600)):
        tail = periods[first + 60 : first + 120]
        assert statistics.mean(period.price for period in tail) == pytest.approx(resting, rel=0.1)
        for server in range(setting.servers):
            prices = [period.prices[server] for period in tail]
            assert max(prices) - min(prices) < 0.2 * statistics.mean(prices)


@pytest.mark.parametrize("bad", [{"floor": 0}, {"floor": 2_000_000}, {"cap": 999_999}, {"mints_ppm": 1_000_001}])
def test_a_market_without_sensible_limits_is_refused(bad):
    with pytest.raises(InvalidRequest):
        Market(BASE, **bad)


# --- burn and mint ---------------------------------------------------------------------------------------------------


@given(works, st.integers(0, 10**13), st.integers(0, 10**6))
def test_no_server_is_minted_more_than_was_burned_for_its_own_work(done, emission, mints_ppm):
    minted = Market(BASE, mints_ppm=mints_ppm).emission(Epoch(1, emission, done))
    assert sum(minted.values()) <= min(emission, mints_ppm * sum(one.burned for one in done) // 10**6)
    for server, amount in minted.items():
        assert amount <= sum(one.burned for one in done if one.server == server)


def test_who_works_for_itself_under_many_names_gets_less_back_than_it_burned():
    honest, *names = ADDRESSES
    done = [work(honest, names[0], burned=10**9)]
    done += [work(server, client, 10**9, burned=10**8) for server in names for client in names]
    minted = Market(BASE, mints_ppm=900_000).emission(Epoch(1, 10**15, done))
    burned = sum(one.burned for one in done if one.server in names)
    assert sum(minted[name] for name in names) == pytest.approx(0.9 * burned, abs=len(names))
    assert minted[honest] == pytest.approx(0.9 * 10**9, abs=1)  # which takes nothing from it


def test_what_was_burned_for_no_work_is_not_minted_again():
    assert Market(BASE, mints_ppm=10**6).emission(Epoch(1, 10**9, [work(*ADDRESSES[:2], 0, burned=500)])) == {}


# --- contribution ----------------------------------------------------------------------------------------------------


def test_points_are_in_proportion_to_verified_work():
    servers, clients = ([bytes([kind, number]) * 10 for number in range(40)] for kind in (1, 2))
    done = [work(server, client, 100 + server[1] % 2 * 100) for server in servers for client in clients]
    points = Contribution().emission(Epoch(1, 6 * 10**9, done))
    assert (points[servers[0]], points[servers[1]]) == (10**8, 2 * 10**8)
    assert sum(points.values()) == 6 * 10**9
    assert Contribution().price == FREE


@given(works, st.integers(0, 10**13), st.sets(st.sampled_from(ADDRESSES)), st.sets(st.sampled_from(ADDRESSES)))
def test_invented_work_earns_points_within_the_bound_that_is_documented(done, emission, servers, clients):
    done = [one for one in done if (one.server in servers) == (one.client in clients)]  # they serve each other only
    points = Contribution().emission(Epoch(1, emission, done))
    assert sum(points.values()) <= emission
    most = emission * MOST_PPM // 10**6
    assert sum(points.get(server, 0) for server in servers) <= min(len(servers), len(clients)) * most


@pytest.mark.parametrize("servers, clients", [(1, 12), (12, 1), (3, 3)])
def test_one_client_with_many_servers_invents_no_more_than_one_server_with_many_clients(servers, clients):
    invented = [work(server, client, 10**9) for server in ADDRESSES[:servers] for client in ADDRESSES[:clients]]
    points = Contribution().emission(Epoch(1, 12 * 10**6, invented))
    assert sum(points.values()) == min(servers, clients) * 12 * 10**6 * MOST_PPM // 10**6


def test_policies_are_immutable():
    market = Market(BASE)
    market.observe(Demand(1.0))
    assert market.price == BASE
    with pytest.raises(dataclasses.FrozenInstanceError):
        market.base = FREE
