"""Evidence examined on a machine that saw nothing of the session: the model's files are all it takes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from swarm.errors import InvalidRequest, SwarmError
from swarm.model import Checkpoint
from swarm.model.blocks import check_block_range
from swarm.model.digest_cache import DigestCache
from swarm.model.identity import weights_root
from swarm.verify.audit.accumulated import Accumulated
from swarm.verify.audit.calibration import load_thresholds
from swarm.verify.audit.case import parse_format
from swarm.verify.audit.judgement import Judgement, Verdict, accumulate
from swarm.verify.audit.reexecution import Reexecutor
from swarm.verify.audit.thresholds import Thresholds
from swarm.verify.fraud.evidence import MAX_BUNDLE_BYTES, Bundle, examine
from swarm.wire.formats.receipts import Terms


@dataclass(frozen=True)
class Finding:
    """What one piece of evidence amounts to, by this machine's recomputation."""

    bundle: Bundle
    judgement: Judgement
    thresholds: Thresholds
    revision: str  # of the files that it was computed with

    @property
    def accused(self) -> str:
        return self.bundle.case.peer_id

    @property
    def convicts(self) -> bool:
        """Alone and beyond doubt: so that it may cost the accused its stake."""
        return self.judgement.convicts(self.thresholds, self.revision)


@dataclass(frozen=True)
class Sentence:
    """What all evidence against one peer amounts to. findings: those that count, by the time of the work."""

    accused: str
    findings: tuple[Finding, ...]
    accumulated: Accumulated

    @property
    def convicts(self) -> bool:
        failed = any(finding.judgement.verdict == Verdict.FAIL for finding in self.findings)
        return failed or self.accumulated.convicts


class Expert:
    """Recomputes with one model's files, and holds the weights of one range of blocks at a time."""

    def __init__(self, checkpoint: Checkpoint, digests: DigestCache, thresholds: Path, threads: int):
        """digests: of the model's blocks. thresholds: the folder of calibrations."""
        self._checkpoint, self._digests, self._folder, self._threads = checkpoint, digests, thresholds, threads
        self._loaded: tuple[tuple[int, int, str], Reexecutor] | None = None

    def examine(self, bundle: Bundle) -> Finding:
        """Raises RevisionMismatch if the accused announced other weights than these files have, ModelError and
        InvalidRequest for evidence about something that these files, or this software, cannot compute."""
        terms, config = bundle.case.terms, self._checkpoint.config
        check_block_range(terms.start, terms.stop, config)
        if bundle.case.inputs.columns != config.hidden_size:
            raise InvalidRequest(
                f"evidence with {bundle.case.inputs.columns} numbers a token about a model that has "
                f"{config.hidden_size}; give the files of {bundle.model!r:.60} with --model"
            )
        if bundle.case.stop > config.max_context:
            raise InvalidRequest(
                f"evidence about {bundle.case.stop} tokens; the context of {self._checkpoint.name!r} is "
                f"{config.max_context}"
            )
        thresholds = load_thresholds(self._folder, self._checkpoint.revision, *parse_format(terms))
        weights = weights_root(self._digests.digests(self._checkpoint, terms.start, terms.stop))
        try:
            judgement = examine(bundle, weights, self._reexecutor(terms), thresholds)
        except (RuntimeError, MemoryError) as error:  # torch's, where memory does not suffice
            raise InvalidRequest(f"this machine cannot recompute the evidence: {error}") from error
        return Finding(bundle, judgement, thresholds, self._checkpoint.revision)

    def _reexecutor(self, terms: Terms) -> Reexecutor:
        key = terms.start, terms.stop, terms.format
        if self._loaded is None or self._loaded[0] != key:
            self._loaded = None  # before the next is loaded
            own = Reexecutor(self._checkpoint, terms.start, terms.stop, *parse_format(terms), self._threads)
            self._loaded = key, own
        return self._loaded[1]


def read_bundle(path: Path) -> Bundle:
    """The evidence in a file, which is untrusted. Raises InvalidRequest, and SwarmError if it cannot be read."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BUNDLE_BYTES + 1)
    except OSError as error:
        raise SwarmError(f"{path} cannot be read: {error.strerror}") from error
    return Bundle.decode(data)


def sentence(findings: Iterable[Finding]) -> list[Sentence]:
    """What `findings` come to for each of the accused. Work counts once, in however many files it is.

    Whoever chooses the files can leave out audits that were passed, which would have taken suspicions away: a sentence
    without a failed audit in it is worth as much as the accuser's word that there are no others.
    """
    by_peer: dict[str, list[Finding]] = {}
    for finding in findings:
        by_peer.setdefault(finding.accused, []).append(finding)
    return [_sentence(accused, own) for accused, own in by_peer.items()]


def _sentence(accused: str, findings: Sequence[Finding]) -> Sentence:
    state, counted, known = Accumulated(), [], set()
    for finding in sorted(findings, key=lambda one: one.bundle.case.segment[0].receipt.time_ms):
        work = {signed.receipt.hash for signed in finding.bundle.case.segment}
        if known.isdisjoint(work):
            known |= work
            counted.append(finding)
            state = accumulate(state, finding.judgement, finding.thresholds)
    return Sentence(accused, tuple(counted), state)
