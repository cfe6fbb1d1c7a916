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

from collections.abc import Callable
from importlib import import_module

from swarm.errors import InvalidRequest
from swarm.wire.formats.facts import MAX_EVIDENCE_BYTES, Attester, Facts

Verifier = Callable[[Facts, bytes], bool]  # of a client: whether evidence (b"" if a peer gives none) holds for facts


def load_attester(name: str) -> Attester:
    """The function that "module:function" names. Raises InvalidRequest if there is none."""
    module, _, function = name.partition(":")
    try:
        found: Attester = getattr(import_module(module), function)
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
