"""Evidence examined on a machine that saw nothing of the session: the model's files are all it takes."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from swarm.errors import InvalidRequest, RevisionMismatch, UnusableFile
from swarm.model.digest_cache import DigestCache
from swarm.model.identity import weights_root
from swarm.storage.pipes import open_named
from swarm.verify.audit.expert import Expert
from swarm.verify.audit.judging.accumulated import Accumulated
from swarm.verify.audit.judging.judgement import Judgement, Verdict, accumulate
from swarm.verify.audit.judging.thresholds import Thresholds
from swarm.verify.fraud.evidence import BEGINNING, MAX_BUNDLE_BYTES, Bundle


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


def examine(bundle: Bundle, expert: Expert, digests: DigestCache) -> Finding:
    """What the evidence amounts to. digests: of the expert's files.

    Raises RevisionMismatch if the accused announced other weights than these files have, ModelError and InvalidRequest
    for evidence about something that these files, or this software, cannot compute.
    """
    terms, checkpoint = bundle.case.terms, expert.checkpoint
    expert.check(bundle.case)
    if terms.weights != weights_root(digests.digests(checkpoint, terms.start, terms.stop)):
        raise RevisionMismatch(
            f"the accused announced other weights than those of {checkpoint.name!r} on this machine; give the files of "
            f"{bundle.model!r:.60} in revision {bundle.revision!r:.60}"
        )
    return Finding(bundle, expert.judge(bundle.case), expert.thresholds(terms), checkpoint.revision)


def read_bundle(path: Path) -> Bundle:
    """The evidence in a file, which is untrusted. Raises UnusableFile, which does not name the file."""
    try:
        with open_named(path, MAX_BUNDLE_BYTES) as file:
            data = file.read(len(BEGINNING))  # of what is none, no more is read than that
            if BEGINNING.startswith(data):
                data += file.read(MAX_BUNDLE_BYTES + 1 - len(data))
    except OSError as error:
        raise UnusableFile(f"it cannot be read: {error.strerror}") from error
    try:
        return Bundle.decode(data)
    except InvalidRequest as error:
        raise UnusableFile(str(error)) from error


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
    state, counted = Accumulated(), list[Finding]()
    known: set[bytes] = set()
    for finding in sorted(findings, key=lambda one: one.bundle.case.segment[0].receipt.time_ms):
        work = {signed.receipt.hash for signed in finding.bundle.case.segment}
        if known.isdisjoint(work):
            known |= work
            counted.append(finding)
            state = accumulate(state, finding.judgement, finding.thresholds)
    return Sentence(accused, tuple(counted), state)
