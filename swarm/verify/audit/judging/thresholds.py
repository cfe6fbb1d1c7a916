"""Where honest ends and cheating begins, and on which measurements that rests."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Provenance:
    """What was measured to choose thresholds.

    software: versions of what computed. trials: honest windows of 32 tokens. date: YYYY-MM-DD
    """

    model: str
    revision: str
    quant: str
    dtype: str
    software: str
    machine: str
    trials: int
    date: str


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Limits on ratios (see swarm/verify/audit/judging/judgement.py).

    suspect:  a window of 32 tokens whose median exceeds it is suspect
    fail:     a window whose median exceeds it fails
    outlier:  a token whose ratio exceeds it is an outlier
    outliers, segment_outliers: so many tokens of a window, of a segment may be; with more it fails
    segment:  a segment of 256 tokens whose median exceeds it is suspect
    mean, deviation: bounds on the log medians of an honest peer's segments (see accumulated.py)
    """

    suspect: float
    fail: float
    outlier: float
    outliers: int
    segment_outliers: int
    segment: float
    mean: float
    deviation: float
    provenance: Provenance


BUILT_IN = Thresholds(
    suspect=1.5,
    fail=3.0,
    outlier=3.0,
    outliers=5,
    segment_outliers=8,
    segment=1.12,
    mean=0.04,
    deviation=0.05,
    provenance=Provenance(
        model="demo",
        revision="9c199f2956282f5b",
        quant="any",
        dtype="any",
        software="torch 2.13",
        machine="x86-64 with AVX-512, 2 cores",
        trials=10_800,
        date="2026-11-24",
    ),
)
