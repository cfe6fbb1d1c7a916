"""The two files of a batch run: prompts in, one a line; answers out, one a line, each on disk before it counts."""

import errno
import fcntl
import hashlib
import json
import os
import re
import stat
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from swarm.errors import DiskTrouble, InvalidRequest, UnusableFile
from swarm.generate.options import Prompt
from swarm.storage.files import check_regular, expanded, parse_json, sync_names
from swarm.storage.pipes import open_named

FIELDS = frozenset({"prompt", "id", "max_new_tokens"})
_HEAD, _TEXT, _DIGEST = (
    b'{"id": ',
    re.compile(rb'"(?:[^"\\]|\\.)*"'),
    b', "prompt_sha256": "',
)  # so a line of answers begins


@dataclass(frozen=True)
class Job:
    """One prompt of a batch."""

    id: str
    prompt: Prompt  # text or a conversation
    max_new_tokens: int | None = None  # None: as many as the others

    @property
    def digest(self) -> str:
        """SHA-256 of the prompt, in hex, by which a run that goes on knows it again."""
        return hashlib.sha256(json.dumps(self.prompt, sort_keys=True).encode()).hexdigest()


def read_jobs(path: str | os.PathLike[str]) -> list[Job]:
    """The lines of `path`: {"prompt": text or conversation, "id": ..., "max_new_tokens": ...}, or just the prompt as a
    JSON string. Without an id, a prompt's line number is its id. Raises UnusableFile naming the first bad line."""
    path = expanded(path)
    jobs: dict[str, Job] = {}
    for number, line in enumerate(_read_text(path).split("\n"), 1):  # other ends of lines may be in a prompt
        if line.strip():
            job = _parse_job(line, f"{path}, line {number}", number)
            if job.id in jobs:
                raise UnusableFile(f"{path}, line {number}: the id {job.id!r:.40} was given before")
            jobs[job.id] = job
    return list(jobs.values())


def _read_text(path: Path) -> str:
    """Also of a pipe. Raises UnusableFile."""
    try:
        with open_named(path) as opened:
            if stat.S_ISCHR(os.fstat(opened.fileno()).st_mode) and not opened.isatty():
                raise UnusableFile(f"cannot read {path}: it is a device, and no file of prompts")
            return opened.read().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UnusableFile(f"cannot read {path}: {reason}") from error


def check_ids(jobs: Iterable[Job]) -> None:
    """Raises InvalidRequest where two have the same."""
    seen: set[str] = set()
    for job in jobs:
        if job.id in seen:
            raise InvalidRequest(f"two prompts have the id {job.id!r:.40}; give each its own")
        seen.add(job.id)


def _parse_job(line: str, where: str, number: int) -> Job:
    try:
        entry = parse_json(line)
    except ValueError as error:
        raise UnusableFile(f'{where} is not JSON; write {{"prompt": "..."}} or a string in quotes') from error
    entry = {"prompt": entry} if isinstance(entry, str) else entry
    if not isinstance(entry, dict) or not _is_prompt(entry.get("prompt")):
        raise UnusableFile(f"{where} has no prompt: text, or a list of messages with role and content")
    if unknown := sorted(set(entry) - FIELDS):
        raise UnusableFile(f"{where}: unknown field {unknown[0]!r:.40}; the fields are {', '.join(sorted(FIELDS))}")
    id_, count = entry.get("id", number), entry.get("max_new_tokens")
    if not isinstance(id_, str | int):
        raise UnusableFile(f"{where}: an id is a string or a number, not {id_!r:.40}")
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
        raise UnusableFile(f"{where}: max_new_tokens is a positive whole number, not {count!r:.40}")
    return Job(str(id_), entry["prompt"], count)


def _is_prompt(prompt: object) -> bool:
    if isinstance(prompt, str):
        return bool(prompt)
    return isinstance(prompt, list) and bool(prompt) and all(_is_message(message) for message in prompt)


def _is_message(message: object) -> bool:
    return isinstance(message, Mapping) and all(isinstance(message.get(name), str) for name in ("role", "content"))


class AnswerFile:
    """Answers, appended one a line. One process at a time has it open.

    A process that was killed while it wrote may have left half a line at the end: that is cut off, for its answer was
    never on disk as a whole.
    """

    def __init__(self, path: str | os.PathLike[str]):
        """Raises UnusableFile if `path` cannot be written, holds something else, or another run has it open."""
        self.path, self._lock = expanded(path), threading.Lock()
        self._file = _open(self.path)
        try:
            self._begin()
            self._done = self._read()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "AnswerFile":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        with self._lock:
            if not self._file.closed:  # in so many words: a forked child may still have it open
                fcntl.flock(self._file, fcntl.LOCK_UN)
            self._file.close()

    def missing(self, jobs: list[Job]) -> list[Job]:
        """Those of `jobs` without an answer. Raises UnusableFile if one's prompt is not the one that was answered,
        InvalidRequest if two have the same id."""
        check_ids(jobs)
        for job in jobs:
            if self._done.get(job.id, job.digest) != job.digest:
                raise UnusableFile(
                    f"{self.path} has an answer to another prompt with the id {job.id!r:.40}: the input has changed "
                    "since; choose another file for the answers"
                )
        return [job for job in jobs if job.id not in self._done]

    def add(self, job: Job, answer: Mapping[str, object]) -> None:
        """Append `answer` to `job`; it is on disk when this returns. From any thread. Raises DiskTrouble if it cannot
        be."""
        line = (json.dumps({"id": job.id, "prompt_sha256": job.digest, **answer}) + "\n").encode()
        with self._lock:
            end = self._file.seek(0, os.SEEK_END)
            try:
                if self._file.write(line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(self._file.fileno())
            except OSError as error:
                with suppress(OSError):
                    self._file.truncate(end)
                why = error.strerror or str(error)
                raise DiskTrouble(f"cannot write {self.path}: {why}; make room, and run this again to go on") from error
            self._done[job.id] = job.digest

    def _begin(self) -> None:
        """Raises UnusableFile."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            sync_names(self.path.absolute().parent)
        except BlockingIOError as error:
            raise UnusableFile(
                f"another run is writing {self.path}; wait for it, or choose another file for the answers"
            ) from error
        except OSError as error:
            raise UnusableFile(f"cannot write {self.path}: {error.strerror}") from error

    def _read(self) -> dict[str, str]:
        """Digest of the prompt by id. Raises UnusableFile, and leaves the file as it is, if that is somebody else's."""
        self._file.seek(0)
        data, done = self._file.readall(), {}
        whole = data.rfind(b"\n") + 1
        for number, line in enumerate(data[:whole].splitlines(), 1):
            try:
                entry = parse_json(line)
                done[entry["id"]] = entry["prompt_sha256"]
            except (ValueError, TypeError, KeyError) as error:
                raise self._foreign(number) from error
        if not _is_begun(data[whole:]):
            raise self._foreign(data.count(b"\n") + 1)
        if whole < len(data):
            self._file.truncate(whole)
        return done

    def _foreign(self, number: int) -> UnusableFile:
        return UnusableFile(f"{self.path}, line {number} is no answer of a batch; choose another file for the answers")


def _open(path: Path) -> FileIO:
    """For as long as an AnswerFile is. Raises UnusableFile, at once also for a pipe or a device."""
    try:
        file = open(path, "ab+", buffering=0, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK, 0o666))  # noqa: SIM115
    except OSError as error:
        raise UnusableFile(f"cannot write {path}: {error.strerror}") from error
    try:
        check_regular(file.fileno(), path)
    except UnusableFile:
        file.close()
        raise
    return file


def _is_begun(fragment: bytes) -> bool:
    """Whether it can be the first half of a line that `add` writes."""
    if not fragment.startswith(_HEAD):
        return _HEAD.startswith(fragment)
    id_ = _TEXT.match(fragment, len(_HEAD))
    if id_ is None:
        return fragment[len(_HEAD) :][:1] in (b"", b'"')
    after = fragment[id_.end() :]
    return after.startswith(_DIGEST) or _DIGEST.startswith(after)
