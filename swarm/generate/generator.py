"""From a prompt's tokens to a finished generation: sessions, tokens, text."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

from swarm.errors import InvalidRequest, NoRoute, PeerBusy, SwarmError
from swarm.generate.heads import Heads
from swarm.generate.local_blocks import LocalBlocks
from swarm.generate.options import GenerateOptions
from swarm.generate.sampling import Sampler
from swarm.generate.text import TextStream, Tokenizer
from swarm.market.auction.auctioneer import Auctioneer
from swarm.market.channel.wallet import Wallet
from swarm.model.checkpoint import Checkpoint
from swarm.results import Generation, Repair
from swarm.results import Hop as GenerationHop
from swarm.route.peer import PeerInfo
from swarm.route.route import Hop
from swarm.session.chain import SessionOptions
from swarm.session.hop import HopFailed, is_recoverable
from swarm.session.limits import ClientLimits
from swarm.session.opening import open_session
from swarm.session.router import Router
from swarm.session.session import Session
from swarm.verify.audit.auditing import Auditing
from swarm.verify.delivery import Gate, Unverified
from swarm.verify.receipts.store import ReceiptStore
from swarm.wire.codec import DTYPES
from swarm.wire.transport import join_address


class Generator:
    """Fills generations, any number at once. Lives in one event loop."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        tokenizer: Tokenizer,
        router: Router,
        heads_for: Callable[[Iterable[PeerInfo]], Awaitable[Heads]],
        limits: ClientLimits,
        wire_dtype: str | None,
        store: ReceiptStore,
        auditing: Auditing,
        local: LocalBlocks | None = None,
        wallet: Wallet | None = None,
        auctioneer: Auctioneer | None = None,
    ):
        """heads_for: the head that suits a chain of these peers. wire_dtype: None: what the peers compute in.
        local: the blocks that no peer computes. wallet: to pay peers from. auctioneer: None: peers are taken at the
        prices that they post."""
        self._local, self._wallet, self._auctioneer = local, wallet, auctioneer
        self._checkpoint, self._config, self._tokenizer = checkpoint, checkpoint.config, tokenizer
        self._router, self._heads_for, self._limits, self._wire_dtype = router, heads_for, limits, wire_dtype
        self._store, self._auditing = store, auditing

    async def run(self, generation: Generation, options: GenerateOptions) -> AsyncIterator[str]:
        """Fill `generation` token by token, yielding new text. Peers that fail are replaced within the session; if that
        cannot be done a new chain recomputes the cache from the tokens so far: nothing already generated is lost or
        changes."""
        prompt = generation.prompt_token_ids
        max_tokens = len(prompt) + options.max_new_tokens
        if max_tokens > self._config.max_context:
            raise InvalidRequest(
                f"{len(prompt)} prompt tokens and {options.max_new_tokens} new ones are more than this model's context "
                f"of {self._config.max_context}; shorten the prompt or lower max_new_tokens"
            )
        gate = Gate(
            generation, Sampler(options.sampling, prompt), TextStream(self._tokenizer, options.stop), options.verify,
            self._auditing, options.sensitive,
        )  # fmt: skip
        clock, attempts = time.perf_counter(), 0
        avoid: set[str] = set()  # whose work could not be verified
        through = options.through
        while True:
            known = len(prompt) + len(generation.token_ids)
            session = await self.open_session(max_tokens, known, avoid, through, options.bid, options.batch)
            through, opened = (), time.perf_counter()  # to begin with
            session.recovery.on_wait = partial(setattr, generation, "status")
            session.receipts.on_receipt = self._store.add
            generation.route = [_public(hop) for hop in session.hops]
            before, tokens = list(generation.repairs), len(generation.token_ids)
            try:
                gate.check_auditable(session)
                async for token in self._decode(session, max_tokens, prompt + generation.token_ids, gate.sampler):
                    clock = _record(generation, token, clock)
                    _describe_chain(generation, session, before)
                    piece = await gate.admit(session, self._add_text(generation, gate.text, token, options))
                    if piece:
                        yield piece
                    if generation.finish_reason:
                        return
            except HopFailed as failure:
                if options.batch and isinstance(failure.cause, PeerBusy | NoRoute):
                    generation.pauses += 1
                else:
                    attempts = attempts + 1 if len(generation.token_ids) == tokens else 1
                    self._note_failure(failure, attempts)
                    generation.reroutes += 1
                gate.rewind()
            except Unverified as failure:
                attempts = attempts + 1 if generation.verified == tokens else 1
                if attempts > self._limits.max_reroutes:
                    raise SwarmError(f"{attempts} chains in turn did not pass verification: {failure}") from failure
                gate.rewind()
                avoid |= failure.peer_ids
                generation.reroutes += 1
            finally:
                generation.computing_s += time.perf_counter() - opened
                if asyncio.current_task().cancelling():
                    session.close()
                else:
                    await self._auditing.finish(session, generation, options.sensitive)
                generation.payments += session.payments()

    def _add_text(self, generation: Generation, text: TextStream, token: int, options: GenerateOptions) -> str:
        """New text, after `token`, which may be the last."""
        piece = text.push(token)
        generation.finish_reason = self._finish_reason(generation, text, options)
        if generation.finish_reason:
            piece += text.finish()
        generation.text = text.text
        return piece

    async def _decode(
        self, session: Session, max_tokens: int, tokens: list[int], sampler: Sampler
    ) -> AsyncIterator[int]:
        """Tokens that follow `tokens`, without end."""
        heads = await self._heads_for(hop.peer for hop in session.hops)
        around = self._local.around(session, max_tokens) if self._local else nullcontext(session)
        async with around as way:
            with heads.session():
                hidden = await way.forward(0, heads.ends.embed(tokens))
                length = len(tokens)
                while True:
                    token = await heads.pick(hidden, sampler)
                    yield token
                    hidden = await way.forward(length, heads.ends.embed([token]))
                    length += 1

    def _finish_reason(self, generation: Generation, text: TextStream, options: GenerateOptions) -> str:
        if text.stopped:
            return "stop"
        if generation.token_ids[-1] in self._config.eos_token_ids and not options.ignore_eos:
            return "eos"
        return "length" if len(generation.token_ids) == options.max_new_tokens else ""

    def _note_failure(self, failure: HopFailed, attempts: int) -> None:
        """Remember who failed; raise the cause if another chain would not help, or enough have been tried."""
        if not is_recoverable(failure.cause) or attempts > self._limits.max_reroutes:
            raise failure.cause from failure
        for peer_id in failure.peer_ids:
            self._router.report_failure(peer_id)

    async def open_session(
        self,
        max_tokens: int,
        prompt_tokens: int = 1,
        avoid: Collection[str] = (),
        through: Sequence[GenerationHop] = (),
        bid: int = 0,
        batch: bool = False,
    ) -> Session:
        """A session on the best chain for a request of `max_tokens`, of which `prompt_tokens` are there already,
        without the peers in `avoid`; or on `through`, at the prices that are posted there. A batch session waits for
        room as long as it takes."""
        limits = replace(self._limits, busy_timeout_s=math.inf) if batch else self._limits
        new_tokens = max_tokens - prompt_tokens
        if self._auctioneer and not through:
            choose = self._auctioneer.choose(prompt_tokens, new_tokens, batch, bid)
        else:
            choose = partial(self._router.chain, prompt_tokens, new_tokens, through=through, batch=batch, bid=bid)
        return await open_session(
            self._router, limits, choose,
            lambda hops: self._session_options(hops, prompt_tokens, max_tokens, bid, batch), avoid,
        )  # fmt: skip

    def _session_options(
        self, hops: Sequence[Hop], prompt_tokens: int, max_tokens: int, bid: int, batch: bool
    ) -> SessionOptions:
        narrow = all(hop.peer.dtype == "bfloat16" for hop in hops)
        return SessionOptions(
            model=self._checkpoint.name,
            revision=self._checkpoint.revision,
            hidden_size=self._config.hidden_size,
            wire_dtype=DTYPES[self._wire_dtype or ("bfloat16" if narrow else "float32")],
            max_tokens=max_tokens,
            open_timeout_s=self._limits.open_timeout_s,
            step_timeout_s=self._limits.step_timeout_s,
            coverage_timeout_s=self._limits.coverage_timeout_s,
            weights=self._router.view.weights.root,
            max_repairs=self._limits.max_reroutes,
            wallet=self._wallet,
            prompt_tokens=prompt_tokens,
            bid=bid,
            batch=batch,
        )


def _public(hop: Hop) -> GenerationHop:
    endpoint = hop.peer.endpoint
    return GenerationHop(hop.peer.peer_id, (hop.start, hop.stop), join_address(endpoint.host, endpoint.port))


def _describe_chain(generation: Generation, session: Session, before: Sequence[Repair]) -> None:
    """Say in `generation` which chain it takes now, and what has been replaced in it. before: repairs of the sessions
    before this one."""
    generation.timings = session.timings
    if len(generation.repairs) != len(before) + len(session.recovery.repairs):
        generation.route = [_public(hop) for hop in session.hops]
        generation.repairs = [*before, *session.recovery.repairs]
        generation.reroutes = sum(not repair.planned for repair in generation.repairs)


def _record(generation: Generation, token: int, clock: float) -> float:
    """Add `token` and the time since `clock`; returns the present time."""
    now = time.perf_counter()
    if generation.token_ids:
        generation.step_latencies_s.append(now - clock)
    else:
        generation.time_to_first_token_s = now - clock
    generation.token_ids.append(token)
    return now
