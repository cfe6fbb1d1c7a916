"""One model's files, to compute again what a peer did with its blocks: everybody who judges work has an Expert."""

from pathlib import Path

from swarm.errors import InvalidRequest
from swarm.model.blocks import check_block_range
from swarm.model.checkpoint import Checkpoint
from swarm.verify.audit.calibrating.calibration import load_thresholds
from swarm.verify.audit.case import Case, judge_case, parse_format
from swarm.verify.audit.judging.judgement import Judgement
from swarm.verify.audit.judging.thresholds import Thresholds
from swarm.verify.audit.reexecution import Reexecutor
from swarm.wire.formats.receipts import Terms


class Expert:
    """Recomputes with one model's files, and holds the weights of one range of blocks at a time."""

    def __init__(self, checkpoint: Checkpoint, thresholds: Path, threads: int = 1):
        """thresholds: the folder of calibrations. threads: for the fused kernels."""
        self.checkpoint = checkpoint
        self._folder, self._threads = thresholds, threads
        self._loaded: tuple[tuple[int, int, str], Reexecutor] | None = None

    def has_numerics_of(self, terms: Terms) -> bool:
        """Whether this machine computes the very bits that a receipt promises: then no outputs are needed.

        Raises ModelError, InvalidRequest for blocks or a format that cannot be computed here."""
        return bool(terms.numerics_id) and terms.numerics_id == self._reexecutor(terms).numerics_id

    def thresholds(self, terms: Terms) -> Thresholds:
        """Those for the format that is judged. Raises InvalidRequest if their file makes no sense."""
        return load_thresholds(self._folder, self.checkpoint.revision, *parse_format(terms))

    def judge(self, case: Case) -> Judgement:
        """Raises ModelError and InvalidRequest for work that these files, or this software, cannot compute."""
        self.check(case)
        thresholds = self.thresholds(case.terms)
        try:
            return judge_case(case, self._reexecutor(case.terms), thresholds)
        except (RuntimeError, MemoryError) as error:  # torch's, where memory does not suffice
            raise InvalidRequest(f"this machine cannot recompute the evidence: {error}") from error

    def check(self, case: Case) -> None:
        """Raises ModelError, InvalidRequest for a case about another model than this one, before anything is loaded."""
        config = self.checkpoint.config
        check_block_range(case.terms.start, case.terms.stop, config)
        if case.inputs.columns != config.hidden_size:
            raise InvalidRequest(
                f"evidence with {case.inputs.columns} numbers a token about a model that has {config.hidden_size}: it "
                f"is about another one than {self.checkpoint.name!r}; give the files of that"
            )
        if case.stop > config.max_context:
            raise InvalidRequest(
                f"evidence about {case.stop} tokens; the context of {self.checkpoint.name!r} is {config.max_context}"
            )

    def forget(self) -> None:
        """Give the memory of the weights back."""
        self._loaded = None

    def _reexecutor(self, terms: Terms) -> Reexecutor:
        key = terms.start, terms.stop, terms.format
        if self._loaded is None or self._loaded[0] != key:
            self._loaded = None  # before the next is loaded
            own = Reexecutor(self.checkpoint, terms.start, terms.stop, *parse_format(terms), self._threads)
            self._loaded = key, own
        return self._loaded[1]
