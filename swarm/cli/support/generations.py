"""What to say of a generation."""

from collections import Counter

from swarm import shown
from swarm.results import Generation
from swarm.verify.audit.judging.verdict import Verdict
from swarm.wire.formats.amounts import format_credits
from swarm.wire.peer_names import short_id


def describe(generation: Generation) -> str:
    """Route, speed and time to first token, what was signed for and audited, and what it cost, a line each."""
    hops = [f"{hop.blocks[0]}:{hop.blocks[1]} {short_id(hop.peer_id)} ({hop.address})" for hop in generation.route]
    speed = f"{generation.tokens_per_second:.1f} tokens/s, " if generation.step_latencies_s else ""
    return (
        f"route  {'  ->  '.join(hops)}\n"
        f"speed  {shown.count(len(generation.token_ids), 'token')}, {speed}"
        f"first after {generation.time_to_first_token_s * 1000:.0f} ms\n"
        f"trust  {_describe_trust(generation)}"
        + (f"\npaid   {_describe_payments(generation)}" if generation.payments else "")
    )


def _describe_trust(generation: Generation) -> str:
    """Such as "12 receipts of 3 peers, 1 audit passed" or "12 receipts of 3 peers, no audit (none drawn)"."""
    peers = {signed.peer_id for signed in generation.receipts}
    parts = [f"{shown.count(len(generation.receipts), 'receipt')} of {shown.count(len(peers), 'peer')}"]
    verdicts = Counter(audit.verdict for audit in generation.audits)
    words = {Verdict.PASS: "passed", Verdict.SUSPECT: "suspect", Verdict.FAIL: "failed", None: "without a result"}
    parts += [
        f"{shown.count(verdicts[verdict], 'audit')} {word}" for verdict, word in words.items() if verdicts[verdict]
    ]
    void = dict.fromkeys(audit.reason for audit in generation.audits if audit.judgement is None)
    if void:
        parts[-1] += f" ({'; '.join(void)})"
    if generation.unaudited and not generation.audits:
        parts.append(f"no audit ({generation.unaudited})")
    if generation.faults:
        parts.append(f"{shown.count(len(generation.faults), 'fault')} ({'; '.join(map(str, generation.faults))})")
    if generation.verified:
        parts.append(f"{shown.count(generation.verified, 'token')} verified")
    return ", ".join(parts)


def _describe_payments(generation: Generation) -> str:
    """Such as "0.00064 credits for 1,280 block-tokens of 3 peers"."""
    block_tokens = sum(payment.block_tokens for payment in generation.payments)
    peers = len({payment.peer_id for payment in generation.payments})
    work = f"{shown.count(block_tokens, 'block-token')} of {shown.count(peers, 'peer')}"
    return f"{format_credits(generation.cost)} for {work}"
