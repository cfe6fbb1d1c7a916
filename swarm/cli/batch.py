"""`python -m swarm batch prompts.jsonl --output answers.jsonl`"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NoReturn

from tqdm import tqdm

from swarm import clock, shown
from swarm.cli.parsers.batch import make_parser
from swarm.cli.support import exits
from swarm.cli.support.clients import generate_options, make_client, warn_of_greedy
from swarm.cli.support.shutdown import SHUTDOWN
from swarm.cli.support.terminal import run
from swarm.client.batch import Batch, Plan, Progress
from swarm.client.batch_files import AnswerFile, Job, read_jobs
from swarm.errors import InvalidRequest, SwarmError
from swarm.wire.formats.amounts import format_credits

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_SECONDS = (86400, 3600, 60, 1)
_SHOWN = 5  # prompts without an answer that are named one by one


def main(arguments: list[str]) -> int:
    return run(make_parser(), arguments, _batch)


def parse_deadline(text: str, now: float) -> float:
    """Unix time of "2h", "1h30m" (from `now` on) or of an ISO 8601 time, local unless it says otherwise. Raises
    InvalidRequest."""
    if text and (match := _DURATION.fullmatch(text)):
        return now + sum(int(count or 0) * unit for count, unit in zip(match.groups(), _SECONDS, strict=True))
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(
            f"--deadline {text!r:.40} is no time; write a duration like 2h or 1h30m, or 2030-01-31T08:00"
        ) from error


def _batch(args: argparse.Namespace) -> int:
    if args.output.exists() and args.prompts.exists() and args.output.samefile(args.prompts):
        raise InvalidRequest(f"the answers cannot go to {args.output}, which has the prompts; name another --output")
    jobs = read_jobs(args.prompts)
    if args.chat:
        jobs = [_as_chat(job) for job in jobs]
    plan = _plan(args)
    ended, code = "", exits.FAILED
    with AnswerFile(args.output) as answers:
        missing = answers.missing(jobs)
        before = len(jobs) - len(missing)
        silent = args.json or not sys.stderr.isatty()  # no bar in a file
        with tqdm(total=len(jobs), initial=before, unit="prompt", disable=silent) as bar:
            batch = Batch(missing, answers, plan, lambda progress: _show(bar, progress, before))
            try:
                if missing:
                    with make_client(args) as client:
                        client.run_batch(batch)
            except KeyboardInterrupt:
                ended, code = "interrupted", SHUTDOWN.status
            except SwarmError as error:
                ended, code = str(error), exits.status_of(error)
    _report(args, jobs, missing, batch.progress, ended)
    return code if ended or batch.progress.left or batch.progress.failed else exits.DONE


def _plan(args: argparse.Namespace) -> Plan:
    options = generate_options(args)
    warn_of_greedy(options)
    options["ignore_eos"] = args.ignore_eos
    return Plan(options, args.concurrency, _deadline(args.deadline) if args.deadline else None)


def _deadline(text: str) -> float:
    """As Plan has it. On joining, the swarm's time takes the place of this machine's, by which the user tells it."""
    now = clock.now_s()
    return clock.steady_s() + parse_deadline(text, now) - now


def _as_chat(job: Job) -> Job:
    if not isinstance(job.prompt, str):
        return job
    return Job(job.id, [{"role": "user", "content": job.prompt}], job.max_new_tokens)


def _show(bar: "tqdm[NoReturn]", progress: Progress, before: int) -> None:
    speed, how = progress.tokens_per_s(clock.steady_s()), "on demand" if progress.hurried else "batch"
    bar.set_postfix_str(f"{speed:.1f} tokens/s, {format_credits(progress.cost)}, {how}", refresh=False)
    bar.update(before + progress.done - bar.n)
    bar.refresh()


def _report(
    args: argparse.Namespace, jobs: Sequence[Job], missing: Sequence[Job], progress: Progress, ended: str
) -> None:
    """Say what was done and what was not. ended: what ended the run too early."""
    before, seconds = len(jobs) - len(missing), clock.steady_s() - progress.started
    if args.json:
        print(json.dumps({
            "prompts": len(jobs), "answered": progress.done, "answered_before": before, "failed": progress.failed,
            "late": list(progress.late), "tokens": progress.tokens, "seconds": round(seconds, 3),
            "tokens_per_second": round(progress.tokens / seconds, 2), "cost": progress.cost, "ended": ended,
        }))  # fmt: skip
    else:
        answered = f"{before + progress.done} of {shown.count(len(jobs), 'prompt')} are answered"
        speed = f"{shown.count(progress.tokens, 'token')}, {progress.tokens / seconds:.1f} tokens/s"
        print(f"{answered} in {args.output}, {progress.done} of them now: {speed}, "
              f"{format_credits(progress.cost)}", file=sys.stderr)  # fmt: skip
        for line in _troubles(progress, ended):
            print(line, file=sys.stderr)


def _troubles(progress: Progress, ended: str) -> Iterator[str]:
    for id_, why in list(progress.failed.items())[:_SHOWN]:
        yield f"prompt {id_}: {why}"
    if len(progress.failed) > _SHOWN:
        yield f"and {len(progress.failed) - _SHOWN} more failed"
    if progress.late:
        more = " ..." if len(progress.late) > _SHOWN else ""
        were = "prompt was" if len(progress.late) == 1 else "prompts were"
        yield f"{len(progress.late)} {were} not done by the deadline: {', '.join(progress.late[:_SHOWN])}{more}"
    if ended:
        yield f"ended early: {ended}"
    if progress.left or progress.failed:
        yield "to go on, run the same command again"
