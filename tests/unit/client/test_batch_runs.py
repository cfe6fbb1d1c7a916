"""Batches of prompts without a network: their files, deadlines, and what becomes of prompts that fail."""

import asyncio
import json
import os
from pathlib import Path

import pytest

from disks import small_files
from swarm import clock
from swarm.cli.batch import _deadline, parse_deadline
from swarm.client.batch import MAX_TRIES, Batch, Plan, must_hurry
from swarm.client.batch_files import AnswerFile, Job, read_jobs
from swarm.errors import DiskTrouble, InvalidRequest, NoRoute, PaymentRequired, PeerBusy, UnusableFile
from swarm.generate.options import GenerateOptions
from swarm.results import Generation
from swarm.route.route import uncovered


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines() if path.exists() else []


def run_batch(path: Path, fill, jobs: int = 4, **plan: object) -> Batch:
    with AnswerFile(path) as answers:
        batch = Batch([Job(str(number), "x") for number in range(jobs)], answers, Plan({"max_new_tokens": 2}, **plan))
        asyncio.run(batch.run(lambda prompt: [1], fill))
    return batch


# --- the files -------------------------------------------------------------------------------------------------------


def test_prompts_are_read_with_their_ids_or_line_numbers(tmp_path):
    file = tmp_path / "prompts.jsonl"
    chat = [{"role": "user", "content": "hello"}]
    file.write_text(f'"one"\n\n{{"prompt": "two", "id": 7, "max_new_tokens": 3}}\n{{"prompt": {json.dumps(chat)}}}\n')
    assert read_jobs(file) == [Job("1", "one"), Job("7", "two", 3), Job("4", chat)]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("one", "line 2 is not JSON"),
        ('{"text": "one"}', "line 2 has no prompt"),
        ('""', "line 2 has no prompt"),
        ('[{"role": "user"}]', "line 2 has no prompt"),
        ('{"prompt": "x", "max_new_tokens": 0}', "positive whole number, not 0"),
        ('{"prompt": "x", "id": [1]}', "an id is a string or a number"),
        ('{"prompt": "x", "temperature": 1}', "unknown field 'temperature'"),
        ('{"prompt": "x", "id": 1}', "the id '1' was given before"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, complaint):
    (tmp_path / "prompts").write_text(f'"fine"\n{line}\n')
    with pytest.raises(InvalidRequest, match=complaint):
        read_jobs(tmp_path / "prompts")


def test_a_changed_prompt_another_file_and_a_second_run_at_once_are_refused(tmp_path):
    path = tmp_path / "answers"
    with AnswerFile(path) as answers:
        answers.add(Job("1", "one"), {"text": "a"})
        with pytest.raises(InvalidRequest, match="another run is writing"):
            AnswerFile(path)
    with AnswerFile(path) as answers:
        assert answers.missing([Job("1", "one"), Job("2", "two")]) == [Job("2", "two")]
        with pytest.raises(InvalidRequest, match="the input has changed"):
            answers.missing([Job("1", "other")])
    (tmp_path / "prose").write_text("Once upon a time\nthere was a peer\n")
    with pytest.raises(InvalidRequest, match="line 1 is no answer"):
        AnswerFile(tmp_path / "prose")
    assert (tmp_path / "prose").read_text().startswith("Once")


def test_a_full_disk_ends_a_run_in_one_line_and_the_next_one_goes_on_there(tmp_path):
    path, filled = tmp_path / "answers", []

    async def fill(generation: Generation, options: GenerateOptions) -> None:
        filled.append(generation)

    with (
        small_files(300),
        pytest.raises(DiskTrouble, match=r"cannot write .*answers: .*; make room, and run this again"),
    ):
        run_batch(path, fill, jobs=20, concurrency=1)
    lines = path.read_text().splitlines()
    assert all(json.loads(line)["prompt_sha256"] for line in lines)  # none of them is half a line
    assert len(filled) == len(lines) + 1  # and nothing more was paid for
    with AnswerFile(path) as answers:
        assert len(answers.missing([Job(str(number), "x") for number in range(20)])) == 20 - len(lines)


# --- deadlines and failures ------------------------------------------------------------------------------------------


def test_what_is_left_when_a_deadline_comes_near_runs_on_demand(tmp_path):
    async def fill(generation: Generation, options: GenerateOptions) -> None:
        if options.background and answered:
            await asyncio.Event().wait()  # there is no room
        answered.append(generation)
        generation.computing_s = 100.0

    answered: list[Generation] = []
    progress = run_batch(tmp_path / "answers", fill, deadline=clock.steady_s() + 60).progress
    assert (progress.done, progress.hurried, progress.late) == (4, True, ())


def test_what_was_not_done_by_the_deadline_is_named(tmp_path):
    async def fill(generation: Generation, options: GenerateOptions) -> None:
        if len(lines(tmp_path / "answers")) == 2:
            await asyncio.Event().wait()

    progress = run_batch(tmp_path / "answers", fill, concurrency=1, deadline=clock.steady_s() + 3).progress
    assert (progress.done, progress.late) == (2, ("2", "3"))
    assert progress.left == 2


def test_a_prompt_that_cannot_succeed_is_left_out_and_one_that_met_a_full_swarm_is_tried_again(tmp_path):
    calls = 0

    async def fill(generation: Generation, options: GenerateOptions) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise InvalidRequest("too long")
        if calls == 2:
            raise PeerBusy("full")

    progress = run_batch(tmp_path / "answers", fill, concurrency=1).progress
    assert (progress.done, progress.failed, calls) == (3, {"0": "too long"}, 5)


def test_money_that_runs_out_ends_the_run_and_keeps_the_answers(tmp_path):
    async def fill(generation: Generation, options: GenerateOptions) -> None:
        if len(lines(tmp_path / "answers")) == 2:
            raise PaymentRequired("the budget is spent")

    with pytest.raises(PaymentRequired):
        run_batch(tmp_path / "answers", fill, concurrency=1)
    assert len(lines(tmp_path / "answers")) == 2


def test_a_batch_hurries_when_twice_the_time_of_the_rest_is_left():
    assert not must_hurry(10, 5, 10.0, 0.0, 1000.0, 959.0)
    assert must_hurry(10, 5, 10.0, 0.0, 1000.0, 961.0)
    assert not must_hurry(10, 5, None, 0.0, 1000.0, 749.0)  # nothing known: a quarter of the time
    assert must_hurry(10, 5, None, 0.0, 1000.0, 751.0)


def test_deadlines_are_durations_or_times():
    assert parse_deadline("2h", 100.0) == 7300.0
    assert parse_deadline("1d1h30m5s", 0.0) == 91805.0
    assert parse_deadline("2030-01-31T08:00+00:00", 0.0) == 1896076800.0
    for wrong in ("soon", "2 weeks", "", "-1h"):
        with pytest.raises(InvalidRequest, match="is no time"):
            parse_deadline(wrong, 0.0)


def test_a_deadline_is_as_far_off_as_it_was_when_the_swarms_time_takes_the_place_of_this_machines(tmp_path):
    """As on joining: by up to ten minutes."""
    seen: list[bool] = []

    async def fill(generation: Generation, options: GenerateOptions) -> None:
        seen.append(options.background)

    deadline = _deadline("5m")
    clock.CLOCK.shift(600.0)
    try:
        progress = run_batch(tmp_path / "answers", fill, deadline=deadline).progress
    finally:
        clock.CLOCK.shift(-600.0)
    assert (progress.done, progress.late) == (4, ()) and all(seen)


def test_a_client_that_has_waited_for_blocks_in_vain_ends_the_batch(tmp_path):
    """Every other prompt would wait as long, for as little."""
    calls = 0

    async def fill(generation: Generation, options: GenerateOptions) -> None:
        nonlocal calls
        calls += 1
        raise uncovered([], 30)

    with pytest.raises(NoRoute, match="no peer serves blocks 0:30"):
        run_batch(tmp_path / "answers", fill, jobs=9, concurrency=1)
    assert calls == 1


def test_a_prompt_that_costs_too_much_once_it_was_waited_for_is_left_out(tmp_path):
    """Others are shorter."""
    calls = 0

    async def fill(generation: Generation, options: GenerateOptions) -> None:
        nonlocal calls
        calls += 1
        raise NoRoute("no chain costs at most 1")

    progress = run_batch(tmp_path / "answers", fill, jobs=3, concurrency=1).progress
    assert calls == len(progress.failed) == 3


def test_a_prompt_for_which_there_is_never_room_is_given_up_after_so_many_tries(tmp_path, monkeypatch):
    monkeypatch.setattr("swarm.client.batch.PAUSES_S", (0.0, 0.0))
    calls = 0

    async def fill(generation: Generation, options: GenerateOptions) -> None:
        nonlocal calls
        calls += 1
        raise PeerBusy("full")

    progress = run_batch(tmp_path / "answers", fill, jobs=1).progress
    assert (progress.done, progress.failed, calls) == (0, {"0": "full"}, MAX_TRIES)


# --- files that others made -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "foreign",
    [
        b"a novel without an end of line",
        b'{"id": 7, "name": "x"}',
        b'{"id": "7", "name": "x"}',
        b'{"name": 1}',
        b"[" * 100_000,
    ],
)
def test_a_file_of_somebody_else_is_refused_and_left_as_it_is(tmp_path, foreign):
    whole = json.dumps({"id": "1", "prompt_sha256": "0" * 64}).encode() + b"\n"
    for data in (foreign, foreign + b"\n", whole + foreign):
        (tmp_path / "file").write_bytes(data)
        for _ in range(2):  # nor does it stay locked
            with pytest.raises(UnusableFile, match=r"line [12] is no answer of a batch"):
                AnswerFile(tmp_path / "file")
        assert (tmp_path / "file").read_bytes() == data


def test_any_part_of_a_line_that_a_killed_run_left_is_cut_off(tmp_path):
    path = tmp_path / "answers"
    with AnswerFile(path) as answers:
        answers.add(Job('a "quoted\\ id', "one"), {"text": "a"})
    line = path.read_bytes()
    for length in range(1, len(line)):
        path.write_bytes(line + line[:length])
        AnswerFile(path).close()
        assert path.read_bytes() == line


@pytest.mark.parametrize("made", [lambda path: os.mkfifo(path), lambda path: path.symlink_to("/dev/zero"),
                                  lambda path: path.symlink_to("/dev/full")])  # fmt: skip
def test_answers_go_into_a_file_and_nothing_else(tmp_path, made):
    made(tmp_path / "it")
    with pytest.raises(UnusableFile, match="no regular file"):
        AnswerFile(tmp_path / "it")


def test_prompts_are_lines_whatever_an_editor_put_before_them_and_whatever_stands_in_them(tmp_path):
    file = tmp_path / "prompts"
    file.write_bytes(b'\xef\xbb\xbf"one"\r\n' + '"two\u2028lines"\n'.encode())
    assert read_jobs(str(file)) == [Job("1", "one"), Job("2", "two\u2028lines")]
    file.write_text("[" * 100_000)
    with pytest.raises(UnusableFile, match="line 1 is not JSON"):
        read_jobs(file)
    with pytest.raises(UnusableFile, match="a device"):
        read_jobs("/dev/zero")
    for path in ("~nobody-of-that-name/x", "a\0b", "a\ud800"):
        for use in (read_jobs, AnswerFile):
            with pytest.raises(UnusableFile):
                use(path)


def test_two_prompts_with_one_id_are_refused_the_first_time(tmp_path):
    jobs = [Job("1", "one"), Job("1", "two")]
    with AnswerFile(tmp_path / "answers") as answers:
        with pytest.raises(InvalidRequest, match="two prompts have the id '1'"):
            answers.missing(jobs)
        with pytest.raises(InvalidRequest, match="two prompts have the id '1'"):
            Batch(jobs, answers, Plan({}))


def test_the_batch_of_the_documentation_runs_as_printed(tmp_path, monkeypatch, capsys):
    blocks = (Path(__file__).parents[3] / "docs" / "using.md").read_text().split("```python\n")
    (printed,) = (block.split("```")[0] for block in blocks if "client.run_batch(" in block)

    class Client:
        def run_batch(self, batch: Batch):
            async def fill(generation: Generation, options: GenerateOptions) -> None:
                pass

            asyncio.run(batch.run(lambda prompt: [1], fill))
            return batch.progress

    monkeypatch.chdir(tmp_path)
    exec(printed, {"client": Client(), "texts": ["one", "two"]})
    assert capsys.readouterr().out == "2 {}\n"
    assert len(lines(tmp_path / "answers.jsonl")) == 2
