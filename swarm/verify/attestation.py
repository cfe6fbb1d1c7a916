"""A hook for confidential computing: evidence of what runs on a peer, made there and judged by the client.

Hardware that can vouch for the software it runs (SEV-SNP, TDX, Nitro and others) signs a *quote*: a measurement of that
software, and some bytes of the asker's choice. This library speaks none of these formats. A server's plug-in turns the
peer's facts into evidence, which travels in its signed directory record; a client's plug-in says whether the evidence
holds for the facts in that record. What makes the two belong together is `Facts.digest`: it covers the peer's key and
its TLS certificate, which is new at every start, so evidence that has it in the quote is of no use to another peer, nor
to the same one after a restart.

What a verdict proves is what the client's verifier checks, and no more. At best: the machine at the other end of the
TLS connection holds the certificate's key inside an environment whose measurement the verifier knows, on hardware whose
maker it trusts. It does not prove that the measured software has no holes, that the hardware has none (there have been
many), or that a result is right; and it says nothing of the other hops of a chain, unless the client demands it of all,
which `swarm.Client(attestation=...)` does.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module

from swarm.errors import InvalidRequest
from swarm.wire import messages_pb2 as pb

MAX_EVIDENCE_BYTES = 1536  # so that a record with all its links stays below its own limit


@dataclass(frozen=True)
class Facts:
    """What a peer says of itself, and evidence is to be about."""

    peer_id: str
    certificate: str  # SHA-256 of the DER of its TLS certificate, hexadecimal
    model: str
    revision: str
    blocks: tuple[int, int]  # start, stop
    quant: str
    dtype: str
    numerics_id: str
    weights: str  # digest of all that it serves, hexadecimal; empty: not said
    software: str

    @classmethod
    def of(cls, record: pb.PeerRecord) -> "Facts":
        """Of a directory record."""
        return cls(
            peer_id=record.peer_id,
            certificate=hashlib.sha256(record.endpoint.certificate).hexdigest(),
            model=record.model,
            revision=record.revision,
            blocks=(record.start, record.stop),
            quant=record.quant or "none",
            dtype=record.dtype,
            numerics_id=record.numerics_id,
            weights=record.weights.hex(),
            software=record.software,
        )

    def digest(self) -> bytes:
        """32 bytes that stand for all of it: what a quote should contain."""
        return hashlib.sha256(b"swarm/facts/v1" + json.dumps(asdict(self), sort_keys=True).encode()).digest()


Attester = Callable[[Facts], bytes]  # of a server: evidence for its own facts
Verifier = Callable[[Facts, bytes], bool]  # of a client: whether evidence (b"" if a peer gives none) holds for facts


def load_attester(name: str) -> Attester:
    """The function that "module:function" names. Raises InvalidRequest if there is none."""
    module, _, function = name.partition(":")
    try:
        found = getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidRequest(f"no attestation plug-in {name!r}; write module:function ({error})") from error
    if not callable(found):
        raise InvalidRequest(f"the attestation plug-in {name!r} is not a function")
    return found


def attest(attester: Attester, facts: Facts) -> bytes:
    """Evidence for `facts`. Raises InvalidRequest if the plug-in fails, or gives what does not fit into a record."""
    try:
        evidence = attester(facts)
    except Exception as error:  # somebody else's code: whatever it raises, the server's owner wants to read one line
        raise InvalidRequest(f"the attestation plug-in failed: {type(error).__name__}: {error}") from error
    if not isinstance(evidence, bytes) or not 0 < len(evidence) <= MAX_EVIDENCE_BYTES:
        size = f"{len(evidence)} bytes" if isinstance(evidence, bytes) else f"a {type(evidence).__name__}"
        raise InvalidRequest(f"the attestation plug-in gave {size}; evidence is 1 to {MAX_EVIDENCE_BYTES} bytes")
    return evidence
