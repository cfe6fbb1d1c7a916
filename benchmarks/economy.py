"""What prices, auctions, rewards and stakes do to those who act in their own interest. Nothing is served.

    python benchmarks/economy.py [--quick] [--only market|auction|rewards|cheating|batch] [--json]

market: servers that price by their own utilisation, and clients that pay less or go to cheaper ones; demand rises by
60 %, then falls to 60 %. The library's rule and the bare formula. auction: against trying every chain, and every peer
against a sweep of lies. rewards: validators who copy, favour a friend or collude. cheating: what each way to cheat
earns at the default stake and audit rate, over the detection rates in benchmarks/results/verification.json. batch: the
idle price.
"""

import harness.needs  # noqa: F401 - first: it says what is missing

import json
import math
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from harness import economy_plots as plots
from harness.cheating_earnings import earnings
from harness.marketplace import Period, Setting, trace
from harness.orders import chains, profit, random_market, vickrey
from harness.report import COMMITTED, Report, make_parser, print_table
from harness.validators import SERVERS, VALIDATORS, Trial, copy, favour, only_friends, raise_friends
from swarm.errors import NoRoute
from swarm.market.auction.auction import clear
from swarm.market.auction.tender import SignedBid
from swarm.market.pricing.fixed import Fixed
from swarm.market.pricing.market import Market
from swarm.market.pricing.policy import PERIOD_S, Demand, Pricing
from swarm.market.stake import LEAST_SEGMENTS, SAVED
from swarm.verify.reputation.standing import AUDIT_RATE
from swarm.wire.formats.quotes import Price

Rows = list[dict[str, object]]

REFERENCE = 1000  # nano-credits per block-token, where prices rest at a demand of 1
PHASES = (1.0, 1.6, 0.6)  # of demand
PHASE = 200  # periods
RESTED = 80  # periods at the end of each phase, over which rest is measured
LOYAL, SWITCHING = 4.0, 25.0


# --- market ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Formula(Pricing):
    """The bare rule, in whole nano-credits: p <- clamp(p * exp(0.2 (u - 0.7))), by 12.5 % at most."""

    now: Price

    @property
    def price(self) -> Price:
        return self.now

    def observe(self, demand: Demand) -> "Formula":
        factor = min(1.125, max(0.875, math.exp(0.2 * (demand.utilisation - 0.7))))
        return Formula(Price(*(max(1, round(part * factor)) for part in self.now)))


def library(start: int) -> Callable[[], Pricing]:
    return lambda: Market(Price(1, start))


def formula(start: int) -> Callable[[], Pricing]:
    return lambda: Formula(Price(1, start))


RULES = {"this library": library, "bare formula": formula}


def swing(values: Sequence[float]) -> float:
    """The largest deviation from the mean, in % of it."""
    mean = statistics.mean(values)
    return 100 * max(abs(value - mean) for value in values) / mean


def phase_figures(periods: Sequence[Period], before: float, wanted: float) -> dict[str, float]:
    """Of one phase. before: mean price when it began; wanted: where it should rest."""
    prices = [period.price for period in periods]
    tail = periods[-RESTED:]
    resting = statistics.mean(period.price for period in tail)
    settled = next(n for n in range(len(prices) + 1) if all(abs(p / resting - 1) <= 0.1 for p in prices[n:]))
    beyond = max(prices) / resting - 1 if resting > before else 1 - min(prices) / resting
    return {
        "settles, min": settled * PERIOD_S / 60,
        "overshoot %": max(0.0, 100 * beyond),
        "off target %": 100 * abs(resting / wanted - 1),
        "swing of mean %": swing([period.price for period in tail]),
        "swing of worst server %": max(map(swing, zip(*(period.prices for period in tail), strict=True))),
    }


def worst_phase(rule: str, setting: Setting, reference: int = REFERENCE) -> dict[str, float]:
    """The worst of each figure over all changes of demand; prices begin at half of where they will rest."""
    demands = [demand for demand in PHASES for _ in range(PHASE)]
    periods = trace(RULES[rule](reference // 2), reference, setting, demands)
    figures, before = [], reference / 2
    for number, demand in enumerate(PHASES):
        phase = periods[number * PHASE : (number + 1) * PHASE]
        figures.append(phase_figures(phase, before, reference * demand))
        before = phase[-1].price
    return {name: max(figure[name] for figure in figures) for name in figures[0]}


def market(report: Report, quick: bool) -> dict[str, Rows]:
    servers = 10 if quick else 40
    settings = [
        Setting(servers=servers, switching=switching, smoothing_s=smoothing_s)
        for switching in (LOYAL, 10.0, SWITCHING)
        for smoothing_s in (0.0, 60.0, 180.0)
    ]
    rows: Rows = [
        {"rule": rule, "switching": setting.switching, "smoothing s": setting.smoothing_s, **worst_phase(rule, setting)}
        for setting in settings
        for rule in RULES
    ]
    small: Rows = [
        {"rule": rule, "reference": reference, **worst_phase(rule, Setting(servers=servers), reference)}
        for reference in (6, 20, 100)
        for rule in RULES
    ]
    demands = [demand for demand in PHASES for _ in range(PHASE)]
    traces = {
        (rule, switching): trace(RULES[rule](REFERENCE // 2), REFERENCE, Setting(servers, switching=switching), demands)
        for rule in RULES
        for switching in (LOYAL, SWITCHING)
    }
    targets = [REFERENCE * demand for demand in demands]
    report.draw(plots.market(traces, REFERENCE, targets, PERIOD_S), "economy-market")
    return {"settings": rows, "small prices": small}


# --- auction ---------------------------------------------------------------------------------------------------------


def against_all_chains(cases: int) -> dict[str, object]:
    """How often chain, hops and payments differ from those of trying every chain."""
    cleared = wrong = wrong_payments = beyond = 0
    for seed in range(cases):
        wanted, bids = random_market(random.Random(seed))
        best = min(chains(wanted, bids), default=None)
        try:
            award = clear(wanted, bids)
        except NoRoute:
            wrong += best is not None
            continue
        cleared += 1
        wrong += best != (award.cost, len(award.leases))
        beyond += award.payment > wanted.budget
        for peer in {lease.peer for lease in award.leases}:
            paid = sum(lease.payment for lease in award.leases if lease.peer == peer)
            wrong_payments += paid != vickrey(wanted, bids, peer, award)
    return {"cases": cases, "with a chain": cleared, "wrong chains": wrong, "wrong payments": wrong_payments,
            "above the maximum": beyond}  # fmt: skip


def lies(cases: int, each: int) -> dict[str, object]:
    """What peers gain by other bids, or bids for fewer blocks, than the true ones."""
    tried, gains, losses = 0, 0, 0
    for seed in range(cases):
        rng = random.Random(seed)
        wanted, bids = random_market(rng, peers=8)
        for index, true in enumerate(bids):
            honest = profit(wanted, bids, true.bid.peer, true.bid.price)
            for _ in range(each):
                start = rng.randint(true.bid.start, true.bid.stop - 1)
                price = Price(rng.randint(0, wanted.maximum.prefill), rng.randint(0, wanted.maximum.decode))
                lie = replace(true.bid, start=start, stop=rng.randint(start + 1, true.bid.stop), price=price)
                others = [*bids[:index], SignedBid(lie, b""), *bids[index + 1 :]]
                gain = profit(wanted, others, true.bid.peer, true.bid.price) - honest
                tried, gains, losses = tried + 1, gains + (gain > 0), losses + (gain < 0)
    return {"lies": tried, "that gain": gains, "that cost": losses}


def shading(cases: int) -> list[tuple[float, float]]:
    """(bid as a share of the cost, mean profit as a share of the honest one), over peers that win when honest."""
    shares = [0.2 + 0.1 * step for step in range(24)]
    found: dict[float, list[float]] = {share: [] for share in shares}
    for seed in range(cases):
        wanted, bids = random_market(random.Random(seed), peers=8)
        for index, true in enumerate(bids):
            honest = profit(wanted, bids, true.bid.peer, true.bid.price)
            for share in shares if honest else ():
                price = Price(*(round(share * part) for part in true.bid.price))
                others = [*bids[:index], SignedBid(replace(true.bid, price=price), b""), *bids[index + 1 :]]
                found[share].append(profit(wanted, others, true.bid.peer, true.bid.price) / honest)
    return [(share, statistics.mean(profits)) for share, profits in found.items()]


def auction(report: Report, quick: bool) -> dict[str, object]:
    curve = shading(20 if quick else 200)
    report.draw(plots.auction(curve), "economy-auction")
    return {"against all chains": against_all_chains(100 if quick else 2000),
            "lies": lies(30 if quick else 300, 10 if quick else 30), "shading": curve}  # fmt: skip


# --- rewards ---------------------------------------------------------------------------------------------------------


def rewards(report: Report, quick: bool) -> dict[str, Rows]:
    epochs = 10 if quick else 60
    noises = (0.02, 0.05, 0.1, 0.2)
    plots_of = {"only friends": only_friends, **{f"friends x{k}": raise_friends(k) for k in (1.05, 1.1, 1.2, 1.5, 3)}}
    collusion: Rows = [
        {
            "scores of": name,
            "friends": friends,
            "noise %": 100 * noise,
            "gain": Trial(VALIDATORS[:6], strategy, noise, friends=SERVERS[:friends], epochs=epochs).run().gain,
        }
        for name, strategy in plots_of.items()
        for friends in (1, 9)
        for noise in noises
    ]
    copying: Rows = [
        {"change %": 100 * change, "noise %": 100 * noise,
         "pay": Trial(VALIDATORS[:1], copy, noise, change, epochs=epochs).run().pay}
        for change in (0.0, 0.02, 0.05, 0.1, 0.2, 0.4)
        for noise in noises
    ]  # fmt: skip
    favouring: Rows = []
    for factor in (1.0, 1.2, 1.5, 2.0, 3.0, 5.0):
        trial = Trial(VALIDATORS[:1], favour(factor), friends=SERVERS[10:11], epochs=epochs).run()
        favouring.append({"factor": factor, "pay": trial.pay, "friend": trial.earned[SERVERS[10]] / trial.fair})
    report.draw(plots.rewards(collusion, copying, favouring), "economy-rewards")
    return {"collusion": collusion, "copying": copying, "favouring": favouring}


# --- cheating --------------------------------------------------------------------------------------------------------


def cheating(report: Report, quick: bool) -> dict[str, object]:
    """All in units of R, the revenue of a segment; every cheat is taken to save as much as one with 4-bit weights."""
    formats = json.loads((COMMITTED / "verification.json").read_text())["formats"]
    rows = [
        earnings(served, peer)
        for served, found in formats.items()
        for peer in found["peers"]["tolerant"]
        if not peer["honest"]
    ]
    report.draw(plots.cheating(rows, LEAST_SEGMENTS, SAVED), "economy-cheating")
    return {"saved": SAVED, "stake, R": LEAST_SEGMENTS, "audit rate": AUDIT_RATE, "cheats": rows}


# --- batch -----------------------------------------------------------------------------------------------------------


def batch(report: Report, quick: bool) -> dict[str, object]:
    """A posted price at each utilisation; and a market whose demand falls to half, until prices have followed."""
    price = Price(200, 1000)
    curve = [(u / 100, Fixed(price).idle_price(Demand(u / 100)).decode / price.decode) for u in range(0, 101, 5)]
    policy, seen = Market(price), []
    for _ in range(20):
        seen.append((policy.price.decode, policy.idle_price(Demand(0.5)).decode))
        policy = policy.observe(Demand(0.5))
    report.draw(plots.batch(curve), "economy-batch")
    return {
        "discounts": [{"utilisation": u, "batch price, % of on demand": 100 * share} for u, share in curve],
        "least discount of a market half idle, %": min(100 - 100 * idle / full for full, idle in seen),
    }


SECTIONS = {section.__name__: section for section in (market, auction, rewards, cheating, batch)}


def show(result: dict[str, object]) -> None:
    for name, value in result.items():
        if isinstance(value, list) and isinstance(value[0], dict):
            print(f"\n{name}")
            print_table(value)
        elif not isinstance(value, list):
            print(f"{name}: {value}")


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--quick", action="store_true", help="a few trials of everything")
    parser.add_argument("--only", choices=SECTIONS, help="one section; the others stay as they are in the JSON")
    parser.add_argument("--json", action="store_true", help="print JSON and no tables")
    args = parser.parse_args()
    report = Report(args)
    results = {name: run(report, args.quick) for name, run in SECTIONS.items() if args.only in (None, name)}
    if args.json:
        print(json.dumps(results, indent=1))
    else:
        for result in results.values():
            show(result)
    report.save("economy", (report.earlier("economy") if args.only else {}) | results)


if __name__ == "__main__":
    main()
