"""Figures of speed: what is counted, what is doubted, and which cases are measured."""

import io
import json
import os
import re
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from swarm.errors import InvalidRequest, SwarmError, UnusableFile
from swarm.measure.against import read_earlier
from swarm.measure.figures import WIDEST, Case, Load, Run, Spread, ratio
from swarm.measure.here import serving_here
from swarm.measure.load import LoadMeter
from swarm.measure.measuring import Engine, Measured, Wanted, measure_all, prompt_tokens
from swarm.measure.page import facts, page, table
from swarm.measure.plan import cases, check_contexts, duration, too_long
from swarm.measure.progress import Progress
from swarm.measure.tables import as_cells, as_row, remarks

IDLE, FULL = Load(2, own=1.0, others=0.1), Load(2, own=0.5, others=1.4)


def steady(step_s: float, count: int = 17, first_s: float = 1.0, load: Load | None = IDLE, sessions: int = 1) -> Run:
    """Sessions that take `step_s` for each token after the first."""
    return Run(10, [[first_s + step_s * index for index in range(count)]] * sessions, load)


def case(*steps_s: float, name: str = "mine", load: Load | None = IDLE) -> Case:
    return Case(name, 1, 10, [steady(step_s, load=load) for step_s in steps_s])


# --- figures ---------------------------------------------------------------------------------------------------------


def test_a_stall_is_in_the_throughput_and_not_in_the_median_step():
    times = [1.0 + 0.1 * index + (2.0 if index > 8 else 0.0) for index in range(17)]
    run = Run(10, [times])
    assert run.decode_per_s == pytest.approx(16 / 3.6)
    assert run.step_ms == pytest.approx(100)


def test_sessions_together_give_the_sum_of_what_each_gives():
    assert steady(0.1, sessions=8).decode_per_s == pytest.approx(80)


def test_prompts_of_other_sessions_are_in_the_total_alone():
    late = [[1.0 + 0.1 * index for index in range(41)], [3.0 + 0.1 * index for index in range(41)]]
    run = Run(100, late)
    assert run.decode_per_s == pytest.approx(20)  # from 3 s to 5 s
    assert run.total_per_s == pytest.approx(82 / 7)
    assert run.prompt_per_s == pytest.approx(200 / 3)
    assert run.first_token_s == pytest.approx(1)


def test_where_no_moment_had_all_sessions_generating_no_throughput_is_made_up():
    apart = [[1.0 + 0.1 * index for index in range(9)], [3.0 + 0.1 * index for index in range(9)]]
    run = Run(100, apart)
    assert run.decode_per_s is None
    apart_ = Case("mine", 2, 100, [replace(run, load=IDLE)] * 3)
    assert as_cells(apart_)["tokens/s"] == "-*"
    why = "only 1 of 2 sessions were at work at once: peers have no room for more, or one ended before another began"
    assert apart_.doubts == [why]


def test_all_at_once_for_a_moment_is_too_short_and_no_matter_of_room():
    touching = [[1.0 + 0.1 * index for index in range(9)], [1.75 + 0.1 * index for index in range(9)]]
    case = Case("mine", 2, 100, [Run(100, touching, IDLE)] * 3)
    assert case.doubts == ["all sessions were at work at once for too few tokens"]


def test_quartiles_lie_within_what_was_measured():
    spread = Spread([1.0, 2.0, 3.0, 4.0, 100.0])
    assert (spread.median, spread.quartiles) == (3.0, (2.0, 4.0))
    assert Spread([5.0]).quartiles == (5.0, 5.0)


# --- doubts ----------------------------------------------------------------------------------------------------------


def test_a_quiet_machine_and_a_narrow_spread_leave_no_doubt():
    assert case(0.1, 0.101, 0.102).doubts == []


def test_others_that_take_what_is_wanted_are_told_of():
    assert case(0.1, 0.1, 0.1, load=FULL).doubts == ["others took 1.4 of 2 cores"]


def test_others_on_cores_that_nobody_wants_do_no_harm():
    assert not Load(8, own=1.0, others=3.0).crowded
    assert not Load(2, own=1.95, others=0.05).crowded


def test_a_wide_spread_few_runs_and_repairs_are_doubted():
    assert "quartiles" in case(0.1, 0.2, 0.4).doubts[0]
    assert case(0.1).doubts == ["measured 1 time, so the spread is not known"]
    mended = Case("mine", 1, 10, [Run(10, steady(0.1).tokens_s, IDLE, repairs=1)] * 3)
    assert mended.doubts == ["hops were replaced 3 times"]
    mixed = Case(
        "mine", 1, 10, [replace(steady(0.1), formats=frozenset({one})) for one in ("int8/b", "int4/b", "int4/b")]
    )
    assert mixed.doubts == ["computed in int4/b and in int8/b, and not in one format"]


def test_where_the_load_is_not_known_even_in_one_run_that_is_a_doubt():
    assert case(0.1, 0.1, 0.1, load=None).doubts == ["who else kept this machine busy is not known"]
    once = Case("mine", 1, 10, [steady(0.1), steady(0.1), steady(0.1, load=None)])
    assert once.doubts == ["who else kept this machine busy is not known"]
    assert as_row(case(0.1, load=None))["others_cores"] is None


def test_a_peer_on_this_machine_is_found_by_the_port_that_it_listens_on():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert serving_here([f"127.0.0.1:{port}", "203.0.113.7:4000"]) == {os.getpid()}
    assert serving_here(["203.0.113.7:4000"]) == set()
    assert serving_here([f"127.0.0.1:{port}"]) == set()  # one that has died takes nothing from anybody


def test_a_peer_of_another_user_leaves_it_untold_what_is_its_own(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        found = psutil.net_connections("tcp")
        hidden = [one._replace(pid=None) for one in found]
        monkeypatch.setattr(psutil, "net_connections", lambda kind: hidden)
        assert serving_here([f"127.0.0.1:{server.getsockname()[1]}"]) is None


def test_what_children_compute_is_this_processs_own():
    meter = LoadMeter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    load = meter.read()
    assert load.cores >= 1
    assert load.own >= 0 <= load.others


def test_a_ratio_is_of_neighbours_in_time():
    slowing = ratio(case(0.10, 0.11, 0.12), case(0.20, 0.22, 0.24, name="base"))
    assert slowing is not None
    assert slowing.values == pytest.approx([2.0, 2.0, 2.0])


def test_there_is_no_ratio_where_either_is_in_doubt():
    good = case(0.1, 0.1, 0.1)
    assert ratio(good, case(0.1, 0.1, 0.1, load=FULL)) is None
    assert ratio(case(0.1), good) is None
    assert ratio(case(0.1, 0.1, 0.1), good) is not None
    assert WIDEST < 1


# --- tables ----------------------------------------------------------------------------------------------------------


def test_doubts_are_in_the_table_beneath_it_and_in_the_json():
    doubtful = case(0.1, 0.1, 0.1, load=FULL)
    assert as_cells(doubtful)["tokens/s"] == "10*"
    assert remarks([doubtful]) == ["mine, 1 x 10: others took 1.4 of 2 cores: not to be compared"]
    row = json.loads(json.dumps(as_row(doubtful)))
    assert all(re.fullmatch("[a-z_]+", key) for key in row)
    assert row["doubts"] == ["others took 1.4 of 2 cores"]
    assert row["others_cores"] == 1.4


def test_a_page_leaves_out_what_is_not_there_and_breaks_no_table():
    text = page("Title", [("One", table([{"a": "x|y\nz"}])), ("Nothing", ""), ("", facts({"b": 1, "c": None}))])
    assert text == "# Title\n\n## One\n\n| a |\n| --- |\n| x\\|y z |\n\n- b: 1\n"


# --- which cases -----------------------------------------------------------------------------------------------------


def test_each_number_of_sessions_meets_each_context_once():
    assert cases([8, 1, 8], [128]) == [(1, 128), (8, 128)]
    assert len(cases([1, 8], [128, 2000])) == 4


def test_a_context_beyond_the_models_own_is_refused_with_the_longest_that_fits():
    check_contexts([128, 8144], 48, 8192, "demo")
    with pytest.raises(InvalidRequest, match="the longest context is 8144"):
        check_contexts([128, 8145], 48, 8192, "demo")
    with pytest.raises(InvalidRequest, match="too few"):
        check_contexts([128], 2, 8192, "demo")


def test_what_would_take_too_long_is_left_out_with_the_reason():
    assert too_long(1, 100, 10, prompt_per_s=100, step_s=0.1, limit_s=60) == ""
    assert "about 11 min" in too_long(64, 1000, 10, prompt_per_s=100, step_s=0.1, limit_s=60)
    assert [duration(seconds) for seconds in (12, 600, 7200)] == ["12 s", "10 min", "2.0 h"]


def test_all_is_measured_so_often_as_wanted_and_the_rest_named():
    told, asked = [], []

    def engine(prompts: list[list[int]], count: int) -> list[list[float]]:
        asked.append((len(prompts), len(prompts[0])))
        first_s = sum(map(len, prompts)) / 1000
        return [[first_s + 0.01 * index for index in range(count)] for _ in prompts]

    wanted = Wanted([(1, 100), (2, 100), (100, 5000)], tokens=16, repeats=3, limit_s=10.0)
    measured = Measured()
    measure_all({"one": engine}, wanted, told.append, measured)
    assert [(case.sessions, len(case.runs)) for case in measured.cases] == [(1, 3), (2, 3)]
    assert measured.left_out == ["one, 100 sessions, context 5000: one run would take about 8 min, and --limit is 10 s"]
    assert told[0] == f"left out: {measured.left_out[0]}"
    assert asked.count((2, 100)) == 3


def test_engines_take_turns_and_what_is_complete_stays_whatever_comes():
    asked = []

    def engine(name: str, lives: int) -> Engine:
        def run(prompts: list[list[int]], count: int) -> list[list[float]]:
            asked.append(name)
            if asked.count(name) > lives:
                raise SwarmError("gone")
            return [[0.01 * (index + 1) for index in range(count)] for _ in prompts]

        return run

    wanted, found = Wanted([(1, 10), (2, 10)], tokens=16, repeats=2, limit_s=10.0), Measured()
    with pytest.raises(SwarmError, match="gone"):
        measure_all({"a": engine("a", 9), "b": engine("b", 5)}, wanted, lambda text: None, found)
    assert asked == ["a", "a", "b", "b", *"abab", *"abab"]
    assert [(case.engine, case.sessions, len(case.runs)) for case in found.cases] == [("a", 1, 2), ("b", 1, 2)]


def told_earlier(folder, *cases: Case, **about: object) -> Path:
    file = folder / "then.json"
    file.write_text(json.dumps({"model": "demo", **about, "rows": [as_row(one) for one in cases]}))
    return file


def test_an_earlier_run_is_compared_case_by_case(tmp_path):
    now = [case(0.1, 0.1, 0.1), Case("mine", 8, 10, case(0.1, 0.1, 0.1).runs)]
    earlier = read_earlier(told_earlier(tmp_path, case(0.2, 0.2, 0.2, name="what it was called then")))
    assert [earlier.cell(one) for one in now] == ["2", "-"]
    assert earlier.remarks({"model": "demo"}, now) == []
    doubted = read_earlier(told_earlier(tmp_path, case(0.2, 0.2, 0.2, load=FULL), machine="x"))
    assert doubted.cell(now[0]) == "2*"
    assert doubted.remarks({"model": "other"}, now) == [
        "then.json: its model was another; its machine was another; some of its figures were in doubt"
    ]
    shorter = Case("mine", 1, 10, [steady(0.2, count=9)] * 3)
    assert read_earlier(told_earlier(tmp_path, shorter)).cell(now[0]) == "2*"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rows": 5}', '{"rows": [{}]}', '{"rows": []}'])
def test_what_no_benchmark_printed_is_nothing_to_compare_with(text, tmp_path):
    (tmp_path / "x").write_text(text)
    with pytest.raises(UnusableFile, match=r"x (is nothing that|has no figure)"):
        read_earlier(tmp_path / "x")


def test_prompts_are_the_same_in_every_run_differ_by_session_and_fit_the_vocabulary():
    assert prompt_tokens(50, 3) == prompt_tokens(50, 3) != prompt_tokens(50, 4)
    assert max(prompt_tokens(500, 9, vocabulary=100)) < 100


def test_progress_is_a_line_a_step_with_what_is_left():
    now, stream = [0.0], io.StringIO()
    progress = Progress(30.0, stream, lambda: now[0])
    progress.step("turn 1 of 3", 10.0)
    now[0] = 20.0
    progress.step("turn 2 of 3", 10.0)
    progress.over()
    assert stream.getvalue() == "turn 1 of 3\nturn 2 of 3, about 40 s to go\n"
