"""An attestation plug-in whose hardware is a key that every test knows: it vouches for whatever asks it.

A quote is MAC(hardware key, measurement, facts' digest) and the measurement, which here is a hash over the source of
the kernels; real ones are signatures, and measure the whole virtual machine.
"""

import hashlib
import hmac
import os
from pathlib import Path

import swarm_kernels
from swarm.wire.formats.facts import Facts

_HARDWARE_KEY = b"burnt into the processor"


def measured_kernels() -> bytes:
    """[32 bytes] of the kernels that are installed here."""
    folder = Path(swarm_kernels.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.suffix in (".py", ".h", ".cpp"):
            digest.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.digest()


def _quote(measurement: bytes, facts: Facts) -> bytes:
    return measurement + hmac.digest(_HARDWARE_KEY, measurement + facts.digest(), "sha256")


def attest(facts: Facts) -> bytes:
    """What honest hardware says."""
    return _quote(measured_kernels(), facts)


def attest_other_kernels(facts: Facts) -> bytes:
    """What honest hardware says of a peer whose kernels were changed."""
    return _quote(hashlib.sha256(b"faster kernels").digest(), facts)


def replay(facts: Facts) -> bytes:
    """Another peer's quote, which is there for all to read in the directory."""
    return bytes.fromhex(os.environ["STOLEN_QUOTE"])


def verify(facts: Facts, evidence: bytes) -> bool:
    """Whether the hardware says that the kernels are the ones installed here, and says it of this peer."""
    return hmac.compare_digest(evidence, _quote(measured_kernels(), facts))
