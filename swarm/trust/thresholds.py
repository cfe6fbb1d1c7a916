"""Where honest ends and cheating begins, and on which measurements that rests."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Provenance:
    """What was measured to choose thresholds. trials: honest windows of 32 tokens. date: YYYY-MM-DD."""

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
    """Limits on ratios (see swarm/trust/audit.py).

    suspect:  a window of 32 tokens whose median exceeds it is suspect
    fail:     a window whose median exceeds it fails
    outlier:  a token whose ratio exceeds it is an outlier
    outliers: as many of a window's tokens an honest peer may have; with more it fails
    segment:  a segment of 256 tokens whose median exceeds it is suspect
    mean, deviation: upper bounds for honest segments' log median, for the accumulated statistic
    """

    suspect: float
    fail: float
    outlier: float
    outliers: int
    segment: float
    mean: float
    deviation: float
    provenance: Provenance


BUILT_IN = Thresholds(
    suspect=1.35,
    fail=3.0,
    outlier=3.0,
    outliers=3,
    segment=1.25,
    mean=0.1,
    deviation=0.1,
    provenance=Provenance(
        model="demo",
        revision="",
        quant="",
        dtype="",
        software="built-in",
        machine="2-core x86-64 with AVX-512",
        trials=3072,
        date="2026-11-24",
    ),
)
