"""What an arbiter takes from whom, for what, and for whose benefit.

Half of what is slashed is the reporter's. So a proof that rests on the word of other peers takes no more than these
have at stake themselves, and is nobody's gain: else two fresh keys that contradict an honest peer would be a business.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from swarm.errors import LedgerRefusal
from swarm.market.ledger.ids import format_address
from swarm.market.ledger.ledger import Ledger
from swarm.verify.fraud.proofs import EQUIVOCATION, Proof
from swarm.wire.formats.amounts import MAX_AMOUNT
from swarm.wire.formats.receipts import SignedReceipt
from swarm.wire.identity import address_of


@dataclass(frozen=True)
class Charge:
    """One offence, that was found to be one. offender, reporter: addresses."""

    offender: bytes
    reporter: bytes
    offence: bytes  # 32 bytes
    at_most: int = MAX_AMOUNT  # nano-credits

    @classmethod
    def of_work(cls, wrong: SignedReceipt, reporter: bytes, at_most: int = MAX_AMOUNT) -> "Charge":
        """For signing `wrong`."""
        return cls(wrong.receipt.terms.peer, reporter, offence_of(wrong), at_most)


def offence_of(wrong: SignedReceipt) -> bytes:
    """By what a ledger knows that something was slashed for: one hop's work in one session, however many of its
    segments were wrong, and in whatever form the evidence comes. A file's digest would not do: the same evidence can be
    cut and signed anew for ever, and whoever does would earn half of whatever the offender stakes later."""
    peer, session, start, attempt, _ = wrong.receipt.slot
    named = peer + session + start.to_bytes(4) + attempt.to_bytes(8)
    return hashlib.sha256(b"swarm/offence/v1" + named).digest()


def charge_of(proof: Proof, reporter: bytes, arbiter: bytes, staked: Callable[[bytes], int]) -> Charge:
    """What a contradiction or a panel's proof comes to.

    staked: nano-credits that an address has bonded. Raises LedgerRefusal if the witnesses have nothing at stake.
    """
    if not proof.witnesses:
        return Charge.of_work(proof.receipts[-1], reporter)
    pledged = sum(staked(address_of(witness)) for witness in proof.witnesses)
    if not pledged:
        raise LedgerRefusal(f"the {len(proof.witnesses)} witnesses against {proof.accused} have nothing at stake")
    return Charge.of_work(proof.receipts[0], arbiter, pledged)


def carry_out(ledger: Ledger, charge: Charge, at_most: int = MAX_AMOUNT) -> int:
    """Slash, in the arbiter's name; returns how many nano-credits are gone. Raises LedgerRefusal if it was done before,
    or nothing is at stake."""
    account = ledger.account(charge.offender)
    amount = min(account.staked + account.unbonding, charge.at_most, at_most)
    if not amount:
        raise LedgerRefusal(f"{format_address(charge.offender)} has nothing at stake")
    return ledger.slash(charge.offender, amount, charge.reporter, charge.offence)


def slash_proof(ledger: Ledger, proof: Proof, reporter: bytes, at_most: int = MAX_AMOUNT) -> int:
    """Take what a proof that is believed takes; only an equivocation may be brought by others than the arbiter. Returns
    how many nano-credits that was. Raises LedgerRefusal."""
    if proof.kind == EQUIVOCATION:
        return ledger.slash_equivocation(*proof.receipts)
    require_arbiter(ledger)
    charge = charge_of(proof, reporter, ledger.arbiter, lambda address: ledger.account(address).staked)
    return carry_out(ledger, charge, at_most)


def require_arbiter(ledger: Ledger) -> None:
    """Raises LedgerRefusal."""
    if ledger.address != ledger.arbiter:
        raise LedgerRefusal(
            f"only this ledger's arbiter, {format_address(ledger.arbiter)}, may slash for this, and not "
            f"{format_address(ledger.address)}; use its key"
        )
