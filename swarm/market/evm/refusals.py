"""What the contract's short reasons mean."""

from swarm.errors import LedgerRefusal

_REASONS = {
    "address": "the zero address owns nothing",
    "amount": "an amount of nothing",
    "gwei": "what is paid in is a whole number of gwei, each a nano-credit",
    "too much": "all credits together may not be more than 2^62 nano-credits",
    "not covered": "the account has not so much available",
    "payee": "the account's own code did not take the payment",
    "exists": "there is such a channel already",
    "unknown": "there is no such channel",
    "closed": "the channel is closed",
    "not payer": "only the channel's payer may order this",
    "not payee": "only the channel's payee may order this",
    "over deposit": "a voucher over more than is in escrow",
    "stale": "a stale voucher: as much has been paid on its channel already",
    "not signed": "not signed by whom it names: a voucher is signed by its channel's payer, a receipt by its peer",
    "signature": "a malformed signature",
    "requested": "the channel is to be closed already",
    "not requested": "ask for the channel to be closed first; the payee has a delay to settle in",
    "too early": "the payee still has time to settle; the channel may be closed later",
    "no stake": "the account has not so much stake, or none",
    "unbondings": "too many parts of the stake are unbonding; withdraw those that are ready, or wait for the first",
    "receipt": "not the words of a receipt as this contract knows them",
    "no equivocation": "these two receipts are no equivocation: one work, and two stories of it",
    "done": "slashing for this was done before",
    "not arbiter": "only the ledger's arbiter may order this",
    "not issuer": "only the ledger's issuer may order this",
    "commits ended": "the commitments of this epoch are closed",
    "commits open": "the commitments of this epoch are still open",
    "committed": "the account has committed in this epoch",
    "payload": "this is not what the account committed to in this epoch, or it was revealed before",
    "emitted": "this epoch's rewards were emitted before",
    "value": "what is paid in is not the sum of the payments",
    "rules": "shares are at most 1,000,000 ppm, delays at most 2^30 seconds",
}


def refusal(revert: str) -> LedgerRefusal:
    """In plain English. revert: what a node says of a transaction that fails, "execution reverted: stale"."""
    reason = revert.rpartition("reverted: ")[2]
    return LedgerRefusal(_REASONS.get(reason, f"the contract refuses it: {reason:.200}"))
