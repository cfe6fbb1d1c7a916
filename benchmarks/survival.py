"""What a generation feels of servers that die, hang or leave: are its tokens the same, and how long does it pause?

    python benchmarks/survival.py [--trials 100] [--scenario kill hang ...]

Real server processes on loopback, the demo model in float32, three hops of ten blocks with several replicas each, one
compute thread per process. In each trial one generation runs, and at a random moment something happens to random hops
of its chain. Its tokens must be those of an undisturbed run. The pause is the longest time between two of its tokens,
an ordinary step included; for what happens before the first token, the time to it beyond an undisturbed one's. Servers
are started between trials only, so that they do not take processor time from the one that is measured.

Writes JSON and a plot after each scenario; figures of scenarios that are not run stay there. The exit status is 1 if
any generation failed or any token differed.
"""

import harness.needs  # noqa: F401 - first: it says what is missing

import random
import statistics
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import torch
from matplotlib.figure import Figure

import swarm
from harness.disturbances import BEFORE_FIRST_TOKEN, NEW_TOKENS, SCENARIOS, Trial
from harness.replicas import Replicas, replicated_swarm
from harness.report import Report, make_parser, print_table, prompt_tokens

PROMPTS = 4  # of either length
TRIAL_LIMIT_S = 150.0


# --- trials ----------------------------------------------------------------------------------------------------------


@dataclass
class Undisturbed:
    """What generations are like when nothing happens, by length of the prompt."""

    tokens: dict[tuple[int, int], list[int]] = field(default_factory=dict)  # (length, index of prompt) -> new tokens
    first_token_s: dict[int, float] = field(default_factory=dict)  # medians
    steps_s: dict[int, list[float]] = field(default_factory=dict)

    def measure(self, client: swarm.Client, length: int) -> None:
        """Twice each prompt: the first warms up."""
        for _ in range(2):
            outs = [
                client.generate(prompt_tokens(length, index), max_new_tokens=NEW_TOKENS, ignore_eos=True)
                for index in range(PROMPTS)
            ]
        self.tokens |= {(length, index): out.token_ids for index, out in enumerate(outs)}
        self.first_token_s[length] = statistics.median(out.time_to_first_token_s for out in outs)
        self.steps_s[length] = [step for out in outs for step in out.step_latencies_s]


@dataclass
class Outcome:
    """Of one trial."""

    identical: bool
    pause_s: float
    repairs: int
    planned: int  # of these, handed over by a server that left
    restarts: int  # whole chains that were made anew
    accused: int  # healthy servers that were replaced
    error: str

    def in_words(self) -> str:
        tokens = "same tokens" if self.identical else f"OTHER TOKENS {self.error}"
        return f"{tokens}, pause {self.pause_s:.2f} s, {self.repairs} repairs"


def run_trial(name: str, replicas: Replicas, client: swarm.Client, calm: Undisturbed, seed: int) -> Outcome:
    scenario, rng = SCENARIOS[name], random.Random(f"{name} {seed}")
    length, index = scenario.prompt, rng.randrange(PROMPTS)
    stream = client.stream(prompt_tokens(length, index), max_new_tokens=NEW_TOKENS, ignore_eos=True)
    step_s, first_token_s = statistics.median(calm.steps_s[length]), calm.first_token_s[length]
    trial = Trial(replicas, client, stream.generation, rng, step_s, first_token_s)
    errors: list[str] = []
    consumer = threading.Thread(target=consume, args=[stream, errors, trial.over], daemon=True)
    consumer.start()
    scenario.disturb(trial)
    consumer.join(TRIAL_LIMIT_S)
    if consumer.is_alive():
        errors.append(f"hangs after {len(trial.generation.token_ids)} tokens; status {trial.generation.status!r}")
    return judge(trial, calm.tokens[length, index], name in BEFORE_FIRST_TOKEN, "".join(errors))


def judge(trial: Trial, expected: Sequence[int], before_first_token: bool, error: str) -> Outcome:
    out = trial.generation
    lost = {peer_id for repair in out.repairs for peer_id in repair.peer_ids}
    accused = lost - {server.peer_id for server in trial.harmed}
    trial.replicas.kill(*map(trial.replicas.server, accused))  # this client would not take them for a while
    trial.replicas.bury()
    planned = sum(repair.planned for repair in out.repairs)
    return Outcome(
        identical=out.token_ids == expected,
        pause_s=out.time_to_first_token_s - trial.first_token_s if before_first_token
        else max(out.step_latencies_s, default=0.0),
        repairs=len(out.repairs),
        planned=planned,
        restarts=max(out.reroutes - len(out.repairs) + planned, 0),
        accused=len(accused),
        error=error,
    )  # fmt: skip


def consume(stream: object, errors: list[str], over: threading.Event) -> None:
    try:
        for _ in stream:
            pass
    except swarm.SwarmError as error:
        errors.append(f"{type(error).__name__}: {error}")
    finally:
        over.set()


def run_scenario(name: str, trials: int, replicas: Replicas, client: swarm.Client, calm: Undisturbed) -> list[Outcome]:
    outcomes = []
    for seed in range(trials):
        replicas.ensure(SCENARIOS[name].replicas)
        outcomes.append(run_trial(name, replicas, client, calm, seed))
        print(f"{name}, trial {seed}: {outcomes[-1].in_words()}", flush=True)
    return outcomes


# --- figures ---------------------------------------------------------------------------------------------------------


def summarise(name: str, outcomes: Sequence[Outcome]) -> dict[str, object]:
    pauses = sorted(outcome.pause_s for outcome in outcomes if not outcome.error) or [float("nan")]
    return {
        "scenario": name,
        "what happens": SCENARIOS[name].about,
        "trials": len(outcomes),
        "identical": sum(outcome.identical for outcome in outcomes),
        "failed": sum(bool(outcome.error) for outcome in outcomes),
        "pause s": statistics.median(pauses),
        "p95 s": pauses[int(0.95 * (len(pauses) - 1))],
        "max s": pauses[-1],
        "repairs": sum(outcome.repairs for outcome in outcomes),
        "handovers": sum(outcome.planned for outcome in outcomes),
        "restarts": sum(outcome.restarts for outcome in outcomes),
        "accused": sum(outcome.accused for outcome in outcomes),
    }


def describe_steps(steps_s: Sequence[float]) -> dict[str, float]:
    ordered = sorted(steps_s)
    return {
        "median s": statistics.median(ordered),
        "p99 s": ordered[int(0.99 * (len(ordered) - 1))],
        "max s": ordered[-1],
    }


def save(report: Report, results: dict[str, list[Outcome]], calm: Undisturbed) -> None:
    """Beside what was saved before of other scenarios."""
    before = {"rows": [], "undisturbed steps": {}, "trials": {}} | report.earlier("survival")
    rows = {row["scenario"]: row for row in before["rows"]} | {
        name: summarise(name, outcomes) for name, outcomes in results.items()
    }
    trials = before["trials"] | {name: [asdict(one) for one in outcomes] for name, outcomes in results.items()}
    steps = before["undisturbed steps"] | {
        f"prompt of {length}": describe_steps(steps) for length, steps in calm.steps_s.items()
    }
    known = [name for name in SCENARIOS if name in rows]
    report.save(
        "survival",
        {
            "rows": [rows[name] for name in known],
            "undisturbed steps": steps,
            "trials": {name: trials[name] for name in known},
        },
    )
    pauses = {name: [TRIAL_LIMIT_S if one["error"] else one["pause_s"] for one in trials[name]] for name in known}
    report.draw(plot(pauses, calm, f"SmolLM2-135M float32, three hops on loopback, {report.where}"), "survival")


def plot(pauses_s: dict[str, list[float]], calm: Undisturbed, title: str) -> Figure:
    """The share of trials that paused for no longer than so long; failed ones lie at the right edge."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.subplots()
    for number, (name, pauses) in enumerate(pauses_s.items()):
        axes.ecdf([max(pause, 1e-3) for pause in pauses], label=f"{name}: {SCENARIOS[name].about}", color=f"C{number}")
    steps = [step for steps in calm.steps_s.values() for step in steps]
    axes.ecdf(steps, label="steps when nothing happens", color="0.6", linestyle="--")
    for limit_s in (1, 3):
        axes.axvline(limit_s, color="0.8", linewidth=1, zorder=0)
    axes.set_xscale("log")
    axes.set_xlabel("pause, seconds")
    axes.set_ylabel("share of trials")
    axes.legend(frameon=False, fontsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=10)
    return figure


def main() -> int:
    parser = make_parser(__doc__)
    parser.add_argument("--trials", type=int, default=100, help="of each scenario")
    parser.add_argument("--scenario", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument("--replicas", type=int, default=4, help="servers for each range, at full strength")
    args = parser.parse_args()
    report = Report(args)
    torch.set_num_threads(1)
    calm, results = Undisturbed(), {}
    with replicated_swarm(args.replicas) as (replicas, client):
        for length in sorted({SCENARIOS[name].prompt for name in args.scenario}):
            calm.measure(client, length)
        for name in args.scenario:
            results[name] = run_scenario(name, args.trials, replicas, client, calm)
            print_table([summarise(name, results[name])])
            save(report, results, calm)
    print_table([summarise(name, outcomes) for name, outcomes in results.items()])
    print_table(
        [
            {"steps when nothing happens": f"prompt of {length}", **describe_steps(steps)}
            for length, steps in calm.steps_s.items()
        ]
    )
    errors = Counter(outcome.error for outcomes in results.values() for outcome in outcomes if outcome.error)
    for error, count in errors.most_common():
        print(f"{count} times: {error}", file=sys.stderr)
    return int(any(o.error or not o.identical for outcomes in results.values() for o in outcomes))


if __name__ == "__main__":
    sys.exit(main())
