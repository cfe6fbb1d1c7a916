"""What options can be. Imports nothing heavy: what is known to a module that takes seconds to import is said here as
well, and a test compares them."""

from typing import get_args

from swarm.client.keywords import Auditor
from swarm.generate.options import VERIFY
from swarm.wire.dtypes import DTYPE_NAMES, SERVED_DTYPES
from swarm_kernels import BNB_FORMATS, QUANTS

__all__ = ["AUDITORS", "BNB_FORMATS", "DTYPE_NAMES", "LOCAL", "PEERS", "QUANTS", "SEGMENT", "SERVED_DTYPES", "VERIFY"]

PEERS, LOCAL, _ = AUDITORS = get_args(Auditor)
SEGMENT = 256  # tokens: swarm.verify.audit.judging.judgement
