"""Every way of cheating with results that we could think of: the outcomes are in docs/attacks.md."""

from collections.abc import Sequence

import pytest
import torch

from cheats import Swarm
from swarm.client.background import wait
from swarm.results import Audit
from swarm.route.route import Hop
from swarm.verify.audit.case import Case, judge_case
from swarm.verify.audit.gathering import gather_case
from swarm.verify.audit.judging.judgement import Verdict
from swarm.verify.audit.judging.thresholds import BUILT_IN
from swarm.verify.audit.reexecution import Reexecutor


def audited(swarm_: Swarm, cheat: str, hops: Sequence[Hop], index: int = 1, prefers_local: bool = True) -> Audit:
    """The outcome of an audit of hop `index` after such a session."""

    async def work() -> Audit:
        session = swarm_.session(hops)
        try:
            await swarm_.work(session)
            assert not session.receipts.faults
            return await swarm_.audit(session, index, swarm_.examiner(prefers_local))
        finally:
            session.close()

    with swarm_.cheater.does(cheat):
        return wait(work())


# --- honest ----------------------------------------------------------------------------------------------------------


def test_an_honest_chain_is_blamed_for_nothing_and_passes_audits(swarm_, run):
    for index in range(3):
        assert audited(swarm_, "", swarm_.middle_chain, index).verdict == Verdict.PASS


# --- wrong results: detected by the first audit ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "cheat",
    ["int4-as-bf16", "int8-as-bf16", "skip-block", "short-window", "other-model", "echo", "int4-unless-audited"],
)
def test_other_results_than_announced_fail_the_first_audit(swarm_, run, cheat):
    audit = audited(swarm_, cheat, swarm_.middle_chain)
    assert (audit.verdict, audit.judgement.method) == (Verdict.FAIL, "exact")
    assert swarm_.reputation.is_shunned(swarm_.wrong.peer_id)


def test_cached_answers_fail_the_first_audit(swarm_, run):
    async def work() -> Audit:
        first, second = swarm_.session(swarm_.middle_chain), swarm_.session(swarm_.middle_chain)
        await swarm_.work(first, seed=1)
        await swarm_.work(second, seed=2)
        audit = await swarm_.audit(second, 1)
        first.close(), second.close()
        return audit

    with swarm_.cheater.does("replay"):
        assert wait(work()).verdict == Verdict.FAIL


class NoPromise(Reexecutor):
    """Of a machine with other kernels: it compares distances."""

    numerics_id = ""


@pytest.mark.parametrize(
    ("cheat", "least"),
    [
        # The demo's weights are int4 as they come: this one saves no more than the rounding of int8 activations, which
        # is twice an honest peer's. More audits convict it, see test_suspicions_add_up_to_a_conviction.
        ("int4-as-bf16", Verdict.SUSPECT),
        *((cheat, Verdict.FAIL) for cheat in ("skip-block", "short-window", "other-model", "echo")),
    ],
)
def test_an_auditor_with_other_kernels_is_not_fooled_either(swarm_, run, cheat, least):
    """By sketches of a few numbers a token."""

    async def work() -> Case:
        session = swarm_.session(swarm_.middle_chain)
        await swarm_.work(session)
        stream = session.chain.streams[1]
        try:
            return await gather_case(session.signed, stream, session.receipts_of(stream), sketches=True)
        finally:
            session.close()

    with swarm_.cheater.does(cheat):
        case = wait(work())
    judgement = judge_case(case, NoPromise(swarm_.client.parts.checkpoint, 1, 3, "none", torch.bfloat16), BUILT_IN)
    assert judgement.method == "sketch"
    assert judgement.verdict >= least
