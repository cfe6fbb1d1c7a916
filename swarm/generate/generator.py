"""From a prompt's tokens to a finished generation: sessions, tokens, text."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial

from swarm import shown
from swarm.errors import InvalidRequest, NoRoute, PeerBusy, SwarmError
from swarm.generate.delivery import Delivery, Seams, Unverified
from swarm.generate.draft import Draft
from swarm.generate.heads import HeadPool
from swarm.generate.local_blocks import LocalBlocks
from swarm.generate.options import GenerateOptions
from swarm.generate.sampling import SamplingOptions
from swarm.generate.text import Tokenizer
from swarm.model.checkpoint import Checkpoint
from swarm.peers.absent import NOBODY, Avoid
from swarm.program import option
from swarm.results import Generation, Repair
from swarm.results import Hop as GenerationHop
from swarm.route.route import Hop
from swarm.session.chain import SessionOptions
from swarm.session.coverage import OnWait, WaitForCoverage
from swarm.session.hop import HopFailed, is_recoverable
from swarm.session.limits import ClientLimits
from swarm.session.opening import open_session
from swarm.session.router import Router
from swarm.session.session import Session
from swarm.session.wanted import Wanted
from swarm.wire.codec import DTYPES
from swarm.wire.hosts import join_address

OnText = Callable[[str], None]  # given new text


class Generator:
    """Fills generations, any number at once. Lives in one event loop."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        tokenizer: Tokenizer,
        router: Router,
        heads: HeadPool,
        limits: ClientLimits,
        wire_dtype: str | None = None,
        local: LocalBlocks | None = None,
        seams: Seams | None = None,
    ):
        """wire_dtype: None: what the peers compute in. local: the blocks that no peer computes. seams: by default,
        generations are neither checked nor paid."""
        self._checkpoint, self._tokenizer, self._router, self._heads = checkpoint, tokenizer, router, heads
        self._limits, self._wire_dtype, self._local, self._seams = limits, wire_dtype, local, seams or Seams()

    async def run(self, generation: Generation, options: GenerateOptions, on_text: OnText = lambda text: None) -> None:
        """Fill `generation` token by token, telling new text. Peers that fail are replaced within the session; if that
        cannot be done a new chain recomputes the cache from the tokens so far: nothing already generated is lost or
        changes."""
        max_tokens = self._max_tokens(generation, options)
        draft = Draft(generation, options, self._tokenizer, self._checkpoint.config.eos_token_ids)
        delivery = self._seams.deliver(draft, options)
        avoid: dict[str, str] = {}
        attempts, through = 0, options.through  # chains in a row without a new token; the one to begin with
        coverage = self._coverage(draft.wait)
        while not draft.finish_reason:
            wanted = _wanted(draft, max_tokens, options)
            session = await self._open(wanted, delivery, coverage, avoid, through)
            through, opened, tokens = (), time.perf_counter(), len(draft.token_ids)
            try:
                delivery.begin(session)
                await self._follow(session, draft, delivery, on_text)
            except HopFailed as failure:
                if options.background and isinstance(failure.cause, PeerBusy | NoRoute):
                    generation.pauses += 1
                else:
                    attempts = attempts + 1 if len(draft.token_ids) == tokens else 1
                    self._note_failure(failure, attempts)
                    generation.reroutes += 1
                delivery.rewind()
            except Unverified as failure:
                attempts = attempts + 1 if generation.verified == tokens else 1
                if attempts > self._limits.max_reroutes:
                    raise SwarmError(f"{attempts} chains in turn did not pass verification: {failure}") from failure
                delivery.rewind()
                avoid |= dict.fromkeys(failure.peer_ids, "did work that could not be verified")
                generation.reroutes += 1
            finally:
                coverage.over()
                generation.computing_s += time.perf_counter() - opened
                if _is_cancelled():
                    delivery.abandon(session)
                else:
                    await delivery.finish(session)

    async def open_session(
        self, max_tokens: int, prompt_tokens: int = 1, through: Sequence[GenerationHop] = ()
    ) -> Session:
        """A session on the best chain for a request of `max_tokens`, of which `prompt_tokens` are there already; or on
        `through`, at the prices that are posted there."""
        options = GenerateOptions(SamplingOptions())
        draft = Draft(Generation([]), options, self._tokenizer)
        wanted = Wanted(prompt_tokens, max_tokens - prompt_tokens)
        delivery = self._seams.deliver(draft, options)
        return await self._open(wanted, delivery, self._coverage(draft.wait), NOBODY, through)

    def _coverage(self, on_wait: OnWait) -> WaitForCoverage:
        """A generation's. on_wait: told what it waits for."""
        return WaitForCoverage(self._limits.coverage_timeout_s, on_wait, self._router.waits)

    def session_options(self, hops: Sequence[Hop], wanted: Wanted) -> SessionOptions:
        """Of a session on these hops."""
        narrow = all(hop.peer.dtype == "bfloat16" for hop in hops)
        return SessionOptions(
            model=self._checkpoint.name,
            revision=self._checkpoint.revision,
            hidden_size=self._checkpoint.config.hidden_size,
            wire_dtype=DTYPES[self._wire_dtype or ("bfloat16" if narrow else "float32")],
            max_tokens=wanted.prompt_tokens + wanted.new_tokens,
            open_timeout_s=self._limits.open_timeout_s,
            step_timeout_s=self._limits.step_timeout_s,
            weights=self._router.table.weights.root,
            max_repairs=self._limits.max_reroutes,
            priority_fee=wanted.priority_fee,
            background=wanted.background,
        )

    async def _open(
        self,
        wanted: Wanted,
        delivery: Delivery,
        coverage: WaitForCoverage,
        avoid: Avoid,
        through: Sequence[GenerationHop],
    ) -> Session:
        """Without the peers in `avoid`. A background session waits for room as long as it takes."""
        busy_timeout_s = math.inf if wanted.background else self._limits.busy_timeout_s
        if self._seams.choose and not through:
            choose = self._seams.choose(wanted)
        else:
            choose = partial(self._router.chain, wanted, through=through)
        describe, observe = (
            partial(self.session_options, wanted=wanted),
            partial(delivery.observe, wanted.prompt_tokens),
        )
        return await open_session(self._router, busy_timeout_s, coverage, choose, describe, avoid, observe)

    async def _follow(self, session: Session, draft: Draft, delivery: Delivery, on_text: OnText) -> None:
        """Add to `draft` what comes out of `session`, until it is complete."""
        generation, seen = draft.generation, 0
        _describe_chain(generation, session)
        heads = await self._heads.for_chain(hop.peer for hop in session.hops)
        max_tokens = session.chain.options.max_tokens
        around = self._local.around(session, max_tokens) if self._local else nullcontext(session)
        async with around as way:
            with heads.session():
                tokens = draft.tokens
                length, hidden = len(tokens), await way.forward(0, await heads.embed(tokens))
                while True:
                    token = await heads.pick(hidden, draft.sampler)
                    if repairs := session.repairs[seen:]:
                        seen += len(repairs)
                        add_repairs(generation, repairs)
                        _describe_chain(generation, session)
                    text = await delivery.admit(session, draft.add(token))
                    if text is not None:
                        draft.release()
                    if text:
                        on_text(text)
                    if draft.finish_reason:
                        return
                    hidden = await way.forward(length, heads.ends.embed([token]))
                    length += 1

    def _max_tokens(self, generation: Generation, options: GenerateOptions) -> int:
        """Positions of prompt and answer. Raises InvalidRequest."""
        prompt, context = len(generation.prompt_token_ids), self._checkpoint.config.max_context
        if prompt + options.max_new_tokens > context:
            raise InvalidRequest(
                f"a prompt of {shown.count(prompt, 'token')} and {option('max_new_tokens')} "
                f"{options.max_new_tokens} are more than this model's context of {context}; shorten one of them"
            )
        return prompt + options.max_new_tokens

    def _note_failure(self, failure: HopFailed, attempts: int) -> None:
        """Remember who failed; raise the cause if another chain would not help, or enough have been tried."""
        if not is_recoverable(failure.cause) or attempts > self._limits.max_reroutes:
            raise failure.cause from failure
        for peer_id in failure.peer_ids:
            self._router.report_failure(peer_id, str(failure.cause))


def _wanted(draft: Draft, max_tokens: int, options: GenerateOptions) -> Wanted:
    known = len(draft.tokens)
    return Wanted(known, max_tokens - known, options.background, options.priority_fee)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _public(hop: Hop) -> GenerationHop:
    endpoint = hop.peer.endpoint
    return GenerationHop(hop.peer.peer_id, (hop.start, hop.stop), join_address(endpoint.host, endpoint.port))


def _describe_chain(generation: Generation, session: Session) -> None:
    """Say in `generation` which chain it takes now."""
    generation.route, generation.timings = [_public(hop) for hop in session.hops], session.timings


def add_repairs(generation: Generation, repairs: Sequence[Repair]) -> None:
    """Say in `generation` what has been replaced in its chain, beside all that was before."""
    generation.repairs = [*generation.repairs, *repairs]
    generation.reroutes += sum(not repair.planned for repair in repairs)
