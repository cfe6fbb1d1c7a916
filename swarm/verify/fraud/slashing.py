"""Taking what a cheat has at stake: the seam for whoever knows of money."""

from swarm.verify.audit.case import Case
from swarm.verify.fraud.proofs import Proof


class Slashing:
    """Of one client. This one takes nothing: nobody has anything at stake. Lives in one event loop."""

    def of_proof(self, proof: Proof, announcer: str) -> None:
        """`proof` is believed. announcer: peer id of who found it."""

    def of_evidence(self, case: Case, accuser: str) -> None:
        """This client's own computation convicts, beyond doubt. accuser: peer id."""

    async def close(self, grace_s: float) -> None:
        """Let end what is under way."""
