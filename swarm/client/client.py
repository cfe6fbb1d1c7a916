"""`swarm.Client`: the public way to generate."""

import asyncio
import os
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from inspect import cleandoc
from typing import TYPE_CHECKING, Any, Unpack, overload

from swarm import shown
from swarm.client.background import wait, when_dropped
from swarm.client.batch import Batch, Progress
from swarm.client.config import ClientConfig
from swarm.client.config import defaults as client_defaults
from swarm.client.joining import Joining
from swarm.client.keywords import ClientKeywords
from swarm.client.prompts import Prompts
from swarm.client.several import Fill, carrying, run_all
from swarm.client.signatures import keywords
from swarm.client.stream import Stream, drain, without_index
from swarm.client.terms import check_verify
from swarm.errors import InvalidRequest, LedgerRefusal, SwarmError
from swarm.forks import Owner, freeze_in_child
from swarm.generate.options import GenerateKeywords, GenerateOptions, Prompt, parse_options
from swarm.generate.options import defaults as generate_defaults
from swarm.loading import load
from swarm.program import option
from swarm.results import Generation
from swarm.route.peer import PeerInfo
from swarm.session.limits import ClientLimits

if TYPE_CHECKING:
    from swarm.client.assembly import Parts
    from swarm.verify.receipts.store import ReceiptStore

AUDIT_GRACE_S = 5.0  # that audits under way get when a client is closed
LEAVE_TIMEOUT_S = 10.0  # beyond that, for all that there is to say when it leaves
_ASSEMBLY = "swarm.client.assembly"  # brings torch, which takes as long to import as it takes to join a swarm
_DEFAULTS = "swarm.model.generation_config"


class Client:
    """Generates with `model` on the swarm that serves it.

    The client holds embeddings, final norm and head; the blocks are computed by peers, all but its `local_blocks`.
    Several threads may use one client at once, but no process that was forked after it was made: that makes another
    one for itself.

        with swarm.Client("demo") as client:
            print(client.generate("The capital of France is", max_new_tokens=16).text)
    """

    @keywords(ClientKeywords, defaults=client_defaults())
    def __init__(
        self,
        model: str | os.PathLike[str] = "demo",
        peers: str | Sequence[str] | None = None,
        dtype: str | None = None,
        **options: Unpack[ClientKeywords],
    ):
        self._running: set[asyncio.Task[Any]] = set()
        self._closed, self._owner = False, Owner()
        freeze_in_child(self)
        self._config = ClientConfig.of(model, peers, dtype, options)
        with Joining(self._config) as joining:
            self.parts: Parts = load(_ASSEMBLY).assemble(self._config, joining)
            self._dropped = when_dropped(self, partial(_leave_behind, self.parts))
            self._where = joining.where
        self.config, self.tokenizer = self.parts.checkpoint.config, self.parts.tokenizer
        try:
            self._ends = wait(self.parts.load_ends())
        except BaseException:
            self.close()
            raise
        self._prompts = Prompts(self.tokenizer, self._ends, self.config.max_context)

    __init__.__doc__ = f"""Load the client's ends of the model and join the swarm. Raises ModelError, PeerUnreachable,
InvalidRequest, PrivateSwarm for a secret that is missing or wrong.

The options are the fields of swarm.client.config.ClientConfig: {cleandoc(ClientConfig.__doc__ or "")}

{cleandoc(ClientLimits.__doc__ or "").partition(chr(10) * 2)[2]}
"""

    def __repr__(self) -> str:
        blocks, state = self.config.num_blocks, ", closed" if self._closed else ""
        return f"<Client of {self.parts.checkpoint.name}, {blocks} blocks, {self._swarm_in_words()}{state}>"

    def __enter__(self) -> "Client":
        self._check()
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        interrupted = kind is not None and not issubclass(kind, Exception)
        self.close(0.0 if interrupted else AUDIT_GRACE_S)

    def close(self, grace_s: float = AUDIT_GRACE_S) -> None:
        """Leave the swarm. Generations still running fail; audits under way have `grace_s`. A forked child's copy has
        nothing to leave."""
        if not self._closed and self._owner.is_here:
            self._closed = True
            self._dropped.detach()
            try:
                wait(_leave(self.parts, self._running, grace_s))
            finally:
                self.parts.close()

    # --- the public calls --------------------------------------------------------------------------------------------

    @overload
    def generate(  # type: ignore[overload-overlap]  # text is a sequence of texts, too, but one prompt
        self, prompt: Prompt, **options: Unpack[GenerateKeywords]
    ) -> Generation: ...
    @overload
    def generate(self, prompt: Sequence[Prompt], **options: Unpack[GenerateKeywords]) -> list[Generation]: ...
    @keywords(GenerateKeywords, defaults=generate_defaults())
    def generate(
        self, prompt: Prompt | Sequence[Prompt], **options: Unpack[GenerateKeywords]
    ) -> Generation | list[Generation]:
        """Generate for a prompt, or for a list of prompts, which run concurrently.

        prompt: text, token ids (a list, an array or a tensor), what a tokenizer returns, or a conversation (a list of
            {"role", "content"}, put through the model's chat template); or a list of any of these. See
            swarm/client/prompts.py.
        options: max_new_tokens (128), temperature (0: greedy), top_k, top_p, repetition_penalty, seed, stop (a string
            or several, not part of the text), ignore_eos (False). verify: text is delivered only after a check of the
            work behind it: "receipts" (all hops have signed, and their receipts fit), "audit" (and those parts that are
            chosen for an audit have passed it) or "full" (and everything was recomputed); what does not pass is
            computed again on other peers. sensitive (False): audits show its activations to no further peer, and
            evidence that holds them is not published. through: the chain to begin with, a list of swarm.Hop, such as
            another generation's route. priority_fee (0): nano-credits, or credits as text, per block-token above the
            price, for going first where peers are full. batch (False): computed while peers have nothing else to do,
            waiting for room as long as it takes. A list of prompts shares these options; with a seed, each gives what
            it would give alone.
        Raises InvalidRequest, NoRoute, PeerBusy, PeerUnreachable; of a list, the error says which prompt's it is, also
        as its `prompt_index`. Whatever ends it, KeyboardInterrupt included, has in `generations` what there was by
        then. Ctrl-C ends the work, and the client goes on. A model without a tokenizer takes token ids, and its
        generations have `token_ids` and no `text`.
        """
        self._check()
        parsed, (generations, are_several) = self._parse(options), self._generations(prompt)
        with carrying(generations):
            wait(self._tracked(run_all(self._filling(parsed), generations, are_several)))
        return generations if are_several else generations[0]

    @overload
    def stream(  # type: ignore[overload-overlap]  # likewise
        self, prompt: Prompt, **options: Unpack[GenerateKeywords]
    ) -> Stream[str]: ...
    @overload
    def stream(self, prompt: Sequence[Prompt], **options: Unpack[GenerateKeywords]) -> Stream[tuple[int, str]]: ...
    @keywords(GenerateKeywords, defaults=generate_defaults())
    def stream(
        self, prompt: Prompt | Sequence[Prompt], **options: Unpack[GenerateKeywords]
    ) -> Stream[str] | Stream[tuple[int, str]]:
        """Like `generate`, but an iterator over pieces of text as they come; for a list of prompts, over
        (index, piece). Its `generation` (or `generations`) fills as it goes, and keeps what there is when it is left
        early. An interrupt ends the work, and so does `close`, a `with` statement's end, or dropping it."""
        self._check()
        parsed, (generations, are_several) = self._parse(options), self._generations(prompt)
        fill = self._filling(parsed)
        pieces = drain(lambda on_piece: self._tracked(run_all(fill, generations, are_several, on_piece)))
        return Stream(pieces, generations) if are_several else Stream(without_index(pieces), generations)

    def encode(self, prompt: Prompt) -> list[int]:
        """Token ids of one prompt. Raises InvalidRequest."""
        self._check()
        return self._prompts.encode(prompt)

    def run_batch(self, batch: Batch) -> Progress:
        """Work through many prompts, on what peers have left over; see `swarm.client.batch`. Raises PaymentRequired,
        LedgerRefusal, NoRoute; what is answered by then is in the batch's file, also after an interrupt."""
        self._check()
        if not isinstance(batch, Batch):
            raise InvalidRequest(f"run_batch takes a swarm.client.batch.Batch, not {shown.value(batch)}")
        wait(self._tracked(batch.run(self._prompts.encode, self.parts.generator.run)))
        return batch.progress

    @property
    def receipts(self) -> "ReceiptStore | None":
        """What peers have signed for this user's clients; None for one that asks for no receipts."""
        self._check()
        return self.parts.trust.store if self.parts.trust else None

    @property
    def generation_defaults(self) -> dict[str, float]:
        """How the model's makers would have it sampled (temperature, top_k, top_p, repetition_penalty), as far as they
        say, as options: `generate(prompt, **client.generation_defaults)`. Without them, `generate` is greedy. Raises
        ModelError."""
        options: dict[str, float] = load(_DEFAULTS).load_generation_defaults(self.parts.checkpoint).options()
        return options

    def usable_peers(self) -> list[PeerInfo]:
        """Who serves the model, on this client's terms, without peers that failed lately or were found to cheat. Raises
        NoRoute, RevisionMismatch."""
        self._check()
        return wait(self.parts.router.usable())

    def wait_for_audits(self) -> None:
        """Until `Generation.audits` of all that was generated so far are complete."""
        self._check()
        if self.parts.trust:
            wait(self.parts.trust.auditing.idle())

    def announce_convictions(self) -> int:
        """Tell the swarm, for as long as this client lives, which peers this user's clients hold proof against; returns
        how many of them are listed."""
        self._check()
        return wait(self.parts.trust.penalties.stand_by()) if self.parts.trust else 0

    def arbitrate(self) -> None:
        """From now on, slash the stake of peers that this client finds to have cheated, also after others said so.
        Raises LedgerRefusal if this user is not the arbiter of its ledger, or there is none."""
        self._check()
        if self.parts.money is None:
            raise LedgerRefusal(
                f"there is no stake without a ledger; say which, with {option('ledger')} or SWARM_LEDGER"
            )
        self.parts.money.slasher.arbitrate()

    def _check(self) -> None:
        """Raises SwarmError where it cannot work any more."""
        self._owner.check("client")
        if self._closed:
            raise SwarmError("this client is closed; make another")

    def _generations(self, prompt: Prompt | Sequence[Prompt]) -> tuple[list[Generation], bool]:
        """Empty ones, and whether there is a list of them."""
        prompts, are_several = self._prompts.encode_all(prompt)
        return [Generation(ids) for ids in prompts], are_several

    def _parse(self, options: Mapping[str, Any]) -> GenerateOptions:
        parsed = parse_options(options)
        check_verify(parsed.verify, self._config.receipts)
        if parsed.stop and self.tokenizer is None:
            raise InvalidRequest("stop is text, and this model comes without a tokenizer; leave it out")
        return parsed

    def _swarm_in_words(self) -> str:
        """Of what is known by now: nobody is asked."""
        peers = shown.count(len(self.parts.router.table.listed()), "peer")
        where = self._where()
        return f"{peers} of {where}" if where else peers

    # --- in the background loop --------------------------------------------------------------------------------------

    async def _tracked(self, work: Coroutine[object, object, None]) -> None:
        """`work`, which ends when the client is closed."""
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            await work
        except asyncio.CancelledError:
            if self._closed:
                raise SwarmError("the client was closed while it was generating") from None
            raise
        finally:
            self._running.discard(task)

    def _filling(self, options: GenerateOptions) -> Fill:
        """One generation after another, as far as max_concurrent allows."""
        slots = asyncio.Semaphore(self._config.limits.max_concurrent)

        async def fill(generation: Generation, on_piece: Callable[[str], None]) -> None:
            async with slots:
                await self.parts.generator.run(generation, options, on_piece)

        return fill


async def _leave(parts: "Parts", running: Collection[asyncio.Task[Any]], grace_s: float) -> None:
    """running: generations, which end. grace_s: that audits under way have."""
    for task in running:
        task.cancel()
    with suppress(TimeoutError):  # whatever else hangs is left to the process's end
        async with asyncio.timeout(grace_s + LEAVE_TIMEOUT_S):
            await asyncio.gather(*running, return_exceptions=True)
            await parts.leave(grace_s)


def _leave_behind(parts: "Parts") -> None:
    """Of a client that nobody refers to any more: else a notebook's cell that is run again would keep the connections,
    the directory's node and the files of what it made before, for as long as the kernel lives."""
    with suppress(SwarmError):  # whoever would have heard of it is gone
        wait(_leave(parts, (), AUDIT_GRACE_S))
    parts.close()
