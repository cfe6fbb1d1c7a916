"""`swarm.Client`: the public way to generate."""

import asyncio
from collections.abc import Coroutine, Iterable, Mapping, Sequence

from swarm.client.background import wait
from swarm.client.batch import Batch, Progress
from swarm.client.stream import OnPiece, Stream, drain
from swarm.errors import InvalidRequest, NoRoute, RevisionMismatch, SwarmError
from swarm.generate.generator import Generator
from swarm.generate.heads import HEAD_FORMATS, Heads, head_format
from swarm.generate.local_blocks import LocalBlocks
from swarm.generate.options import GenerateOptions, Message, Prompt, is_batch, parse_options
from swarm.home import (
    client_identity,
    digests_folder,
    evidence_folder,
    find_swarm,
    receipts_file,
    standing_file,
    thresholds_folder,
)
from swarm.market.auction.auctioneer import Auctioneer
from swarm.market.channel.wallet import open_wallet
from swarm.market.slasher import Slasher
from swarm.market.stakes import make_stakes
from swarm.model.checkpoint import open_checkpoint
from swarm.model.digest_cache import DigestCache
from swarm.model.ends import ModelEnds
from swarm.peers.directory import Directory
from swarm.peers.table import PeerTable
from swarm.peers.terms import Terms
from swarm.results import Generation
from swarm.route.peer import PeerInfo
from swarm.session.limits import ClientLimits
from swarm.session.router import OpenSessions, Router
from swarm.verify.attestation import Verifier
from swarm.verify.attested import Attested
from swarm.verify.audit.auditing import AUDITORS, LOCAL, Auditing, AuditOptions
from swarm.verify.audit.examiner import Examiner
from swarm.verify.audit.expert import Expert
from swarm.verify.audit.judges import LocalJudge, PeerJudges
from swarm.verify.fraud.penalties import Penalties
from swarm.verify.fraud.verifier import FraudVerifier
from swarm.verify.receipts.store import ReceiptStore
from swarm.verify.reputation.store import ReputationStore
from swarm.wire.codec import DTYPES
from swarm.wire.secret import Secret, find_secret
from swarm.wire.tls import make_certificate
from swarm_kernels import QUANTS

AUDIT_GRACE_S = 5.0  # that audits under way get when a client is closed


class Client:
    """Generates with `model` on the swarm that serves it.

    The client holds embeddings, final norm and head; the blocks are computed by peers, all but its `local_blocks`.
    Several threads may use one client at once.

        with swarm.Client("demo") as client:
            print(client.generate("The capital of France is", max_new_tokens=16).text)
    """

    def __init__(
        self,
        model: str = "demo",
        peers: Sequence[str] | None = None,
        dtype: str | None = None,
        *,
        secret: str | None = None,
        revision: str | None = None,
        quant: str | None = None,
        head: str | None = None,
        local_blocks: tuple[int, int] = (0, 0),
        wire_dtype: str | None = None,
        numerics_id: str | None = None,
        trusted: Iterable[str] | None = None,
        excluded: Iterable[str] = (),
        attestation: Verifier | None = None,
        audit: str = "peers",
        audit_rate: float | None = None,
        ledger: str | None = None,
        budget: int | str | None = None,
        max_price: int | None = None,
        seconds_per_credit: float = 0.0,
        auction: bool = False,
        min_stake: int | str | None = None,
        allow_unstaked: bool = False,
        **limits: float,
    ):
        """Load the client's ends of the model and join the swarm.

        model: Hugging Face repository id, folder of safetensors, .gguf file, or "demo".
        peers: addresses of swarm members; by default SWARM_PEERS, or a swarm on this machine.
        secret: of a private swarm; by default SWARM_SECRET, if there is one.
        dtype: only use peers that compute in "float32" or "bfloat16"; by default any.
        quant: only use peers with weights in this format ("none", "int8", "int4" ...); by default any.
        head: "float32", "bfloat16" or "int8" for the product with the vocabulary, which is the client's own work; by
            default what suits the chain: float32 for exact peers, int8 for quantised ones.
        local_blocks: how many of the first and of the last blocks the client computes itself, in `quant` and `dtype` if
            they are given, else as the chain does. The swarm then sees neither embeddings nor the last hidden states.
        wire_dtype: "float32", "bfloat16" or "float16" for activations on the wire; by default what the peers compute
            in. A narrower one halves the traffic and rounds.
        numerics_id: only use peers that compute exactly the bits that this id stands for.
        trusted, excluded: peer ids; if given, only use the former, and never the latter.
        attestation: called with (facts, evidence) of every peer, in a thread; only those for which it returns True are
            used. See swarm.verify.attestation for what that proves.
        audit: who recomputes samples of the peers' work: "peers" that serve the same blocks in the same numerics, where
            there are any; "local", this client, if it has the model's files, which takes memory for the blocks that it
            audits; or nobody, "off".
        audit_rate: share of the work that is audited; by default 20 % of a newcomer's and 5 % of a known peer's.
        ledger: where peers that want it are paid, in the name of this user's key: a folder, `host:port/FINGERPRINT`,
            or `evm:FILE.json`; by default SWARM_LEDGER, if it is set.
        budget: that this client may spend in all: nano-credits, or credits as text ("0.5"); by default what the account
            has.
        max_price: nano-credits for one token through the whole model, on average over prompt and new tokens.
        seconds_per_credit: how many seconds more a request may take if that saves one credit (0: the fastest chain
            within max_price).
        auction: use peers that bid for orders, and no others: a session is ordered from them all, the cheapest chain
            wins, and every hop is paid what the next cheapest peer bids. `ledger` and `max_price` have to be given; the
            latter is what a peer without a competitor is paid. Peers that replace others later, and chains `through`
            given peers, cost what these post.
        min_stake: nano-credits, or credits as text, that every peer must have at stake on the ledger; by default, peers
            that want to be paid need what their prices call for, so that to cheat does not pay, and others nothing.
        allow_unstaked: peers need no stake.
        limits: fields of ClientLimits.
        Raises ModelError, PeerUnreachable, InvalidRequest, PrivateSwarm for a secret that is missing or wrong.
        """
        for name in filter(None, (dtype, wire_dtype)):
            if name not in DTYPES:
                raise InvalidRequest(f"unknown dtype {name!r}; use one of {', '.join(DTYPES)}")
        for name, value, known in (("quant", quant, QUANTS), ("head", head, HEAD_FORMATS)):
            if value is not None and value not in known:
                raise InvalidRequest(f"unknown {name} {value!r}; use one of {', '.join(known)}")
        if audit not in AUDITORS:
            raise InvalidRequest(f"unknown audit {audit!r:.40}; use one of {', '.join(AUDITORS)}")
        if audit_rate is not None and not 0 <= audit_rate <= 1:
            raise InvalidRequest(f"audit_rate is a share from 0 to 1, not {audit_rate}")
        if auction and max_price is None:
            raise InvalidRequest("an auction needs a max_price: a peer without a competitor is paid as much")
        try:
            self._limits = ClientLimits(**limits)
        except TypeError as error:
            raise InvalidRequest(f"unknown limit: {error}; see swarm.session.limits.ClientLimits") from error
        shared = find_secret(secret)
        addresses = find_swarm(peers, shared)
        self._checkpoint = open_checkpoint(model, revision)
        self.config = self._checkpoint.config
        self.tokenizer = self._checkpoint.load_tokenizer()
        self._head_format = head
        self._local: LocalBlocks | None = None
        if any(local_blocks):
            kv_bytes = int(self._limits.local_kv_bytes)
            self._local = LocalBlocks(self._checkpoint, *local_blocks, quant=quant, dtype=dtype, kv_bytes=kv_bytes)
        self._heads: dict[str, asyncio.Task[Heads]] = {}  # by format, loaded when the first chain wants it
        self._running: set[asyncio.Task] = set()
        self._closed = False
        self._wallet = open_wallet(ledger, budget)
        if auction and self._wallet is None:
            raise InvalidRequest("an auction needs a ledger to pay on; say which, with --ledger or SWARM_LEDGER")
        self._stakes = make_stakes(self._wallet.ledger if self._wallet else None, min_stake, allow_unstaked)
        terms = Terms(
            dtype, quant, numerics_id, None if trusted is None else frozenset(trusted), frozenset(excluded),
            self._wallet.ledger_id if self._wallet else None, max_price, seconds_per_credit,
        )  # fmt: skip
        self._router: Router = wait(self._join(addresses, terms, wire_dtype, shared, attestation))
        auctioneer = None
        if auction:
            blocks = (self._local.start, self._local.stop) if self._local else (0, self.config.num_blocks)
            auctioneer = Auctioneer(self._router, self._checkpoint, terms, blocks, self._limits.bidding_s)
        self.receipts = ReceiptStore(receipts_file())
        self._auditing = wait(self._make_auditing(AuditOptions(audit, audit_rate)))
        self._generator = Generator(
            self._checkpoint,
            self.tokenizer,
            self._router,
            self._heads_for,
            self._limits,
            wire_dtype,
            self.receipts,
            self._auditing,
            self._local,
            self._wallet,
            auctioneer,
        )
        try:
            self._ends = wait(self._load_ends())
        except BaseException:
            self.close()
            raise

    async def _join(
        self,
        addresses: list[str],
        terms: Terms,
        wire_dtype: str | None,
        secret: Secret | None,
        verifier: Verifier | None,
    ) -> Router:
        directory = await Directory.join(addresses, client=True, secret=secret)
        self._reputation = await asyncio.to_thread(ReputationStore, standing_file())
        digests = DigestCache(digests_folder()) if self._checkpoint.local else None
        member = make_certificate(secret) if secret else None
        policies = [terms, *([Attested(verifier)] if verifier else []), self._stakes]
        sessions = OpenSessions()
        view = PeerTable(directory, self._checkpoint, policies, self._reputation, digests, member, sessions.by_peer)
        wire_bytes = DTYPES[wire_dtype or terms.dtype or "float32"].itemsize
        blocks = (self._local.start, self._local.stop) if self._local else None
        return Router(view, terms, self.config.hidden_size * wire_bytes, blocks, sessions)

    async def _make_auditing(self, options: AuditOptions) -> Auditing:
        view, checkpoint = self._router.view, self._checkpoint
        self._slasher = Slasher(self._wallet.ledger if self._wallet else None)
        judge, verifier = None, None
        if checkpoint.local:
            judge, of_strangers = (LocalJudge(Expert(checkpoint, thresholds_folder())) for _ in range(2))
            digests = DigestCache(digests_folder())
            verifier = FraudVerifier(view, checkpoint, of_strangers, digests, evidence_folder(), self._slasher)
        peers = PeerJudges(view, checkpoint, self._limits, self._wallet, self._stakes.of)
        self._penalties = Penalties(
            view, self._reputation, checkpoint, client_identity(), evidence_folder(), verifier, self._slasher
        )
        examiner = Examiner(peers, judge, self._penalties, options.by == LOCAL)
        return Auditing(examiner, self._penalties, options)

    async def _load_ends(self) -> ModelEnds:
        """Load the head that the peers of the moment call for, so that the first prompt need not wait for it."""
        await self._router.view.refresh()
        try:
            peers = self._router.view.usable()
        except (NoRoute, RevisionMismatch):  # said when somebody wants to generate: peers may come until then
            peers = []
        if self._local and peers:
            await self._local.prepare(peers)
        return (await self._heads_for(peers)).ends

    async def _heads_for(self, peers: Iterable[PeerInfo]) -> Heads:
        format = self._head_format or head_format(peers)
        if format not in self._heads:
            self._heads[format] = asyncio.create_task(self._load_heads(format))
        return await asyncio.shield(self._heads[format])

    async def _load_heads(self, format: str) -> Heads:
        return Heads(await asyncio.to_thread(ModelEnds.load, self._checkpoint, DTYPES["float32"], format))

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the swarm. Generations still running fail."""
        if not self._closed:
            self._closed = True
            wait(self._leave())
            self.receipts.close()
            for loading in self._heads.values():
                if loading.done() and not loading.cancelled() and not loading.exception():
                    loading.result().close()
            if self._local:
                self._local.close()
            if self._wallet:
                self._wallet.close()

    async def _leave(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._auditing.close(AUDIT_GRACE_S)
        await self._router.close()

    # --- the public calls --------------------------------------------------------------------------------------------

    def generate(self, prompt: Prompt | Sequence[Prompt], **options: object) -> Generation | list[Generation]:
        """Generate for a prompt, or for a list of prompts, which run concurrently.

        prompt: text, token ids, or a conversation (a list of {"role", "content"}, put through the model's chat
            template); or a list of any of these.
        options: max_new_tokens (128), temperature (0: greedy), top_k, top_p, repetition_penalty, seed, stop (a string
            or several, not part of the text), ignore_eos (False). verify: text is delivered only after a check of the
            work behind it: "receipts" (all hops have signed, and their receipts fit), "audit" (and those parts that are
            chosen for an audit have passed it) or "full" (and everything was recomputed); what does not pass is
            computed again on other peers. sensitive (False): audits show its activations to no further peer, and
            evidence that holds them is not published. through: the chain to begin with, a list of swarm.Hop, such as
            another generation's route. bid (0): nano-credits per block-token above the price, for going first where
            peers are full. batch (False): computed while peers have nothing else to do, waiting for room as long as it
            takes. A list of prompts shares these options; with a seed, each prompt gives what it would give alone.
        Raises InvalidRequest, NoRoute, PeerBusy, PeerUnreachable; the error's `generations` hold what there was by
        then.
        """
        parsed, generations = parse_options(options), self._generations(prompt)
        wait(self._tracked(self._run_all(generations, parsed, lambda index, piece: None)))
        return generations if is_batch(prompt) else generations[0]

    def stream(self, prompt: Prompt | Sequence[Prompt], **options: object) -> Stream:
        """Like `generate`, but an iterator over pieces of text as they come; for a list of prompts, over
        (index, piece). Its `generation` (or `generations`) fills as it goes. Leaving it early ends the work."""
        parsed, generations = parse_options(options), self._generations(prompt)
        pieces = drain(lambda on_piece: self._tracked(self._run_all(generations, parsed, on_piece)))
        return Stream(pieces, generations, with_index=is_batch(prompt))

    def run_batch(self, batch: Batch) -> Progress:
        """Work through many prompts, on what peers have left over; see `swarm.client.batch`. Raises PaymentRequired,
        LedgerRefusal; what is answered by then is in the batch's file, also after an interrupt."""
        wait(self._tracked(batch.run(self.encode, self._fill)))
        return batch.progress

    def usable_peers(self) -> list[PeerInfo]:
        """Who serves the model, on this client's terms, without peers that failed lately or were found to cheat. Raises
        NoRoute, RevisionMismatch."""
        return wait(self._router.usable())

    def wait_for_audits(self) -> None:
        """Until `Generation.audits` of all that was generated so far are complete."""
        wait(self._auditing.idle())

    def announce_convictions(self) -> int:
        """Tell the swarm, for as long as this client lives, which peers this user's clients hold proof against; returns
        how many of them are listed."""
        return wait(self._penalties.stand_by())

    def arbitrate(self) -> None:
        """From now on, slash the stake of peers that this client finds to have cheated, also after others said so.
        Raises LedgerRefusal if this user is not the arbiter of its ledger."""
        self._slasher.arbitrate()

    def _generations(self, prompt: Prompt | Sequence[Prompt]) -> list[Generation]:
        prompts = prompt if is_batch(prompt) else [prompt]
        return [Generation(self.encode(one)) for one in prompts]

    def encode(self, prompt: Prompt) -> list[int]:
        """Token ids of one prompt. Raises InvalidRequest if it is empty or holds ids outside the vocabulary."""
        if isinstance(prompt, str):
            ids = self.tokenizer(prompt)["input_ids"]
        elif prompt and isinstance(prompt[0], Mapping):
            ids = self._apply_chat_template(prompt)
        else:
            ids = [int(token) for token in prompt]
        if not ids:
            raise InvalidRequest("the prompt is empty; give at least one token")
        self._ends.check_ids(ids)
        return list(ids)

    def _apply_chat_template(self, messages: Sequence[Message]) -> list[int]:
        if not self.tokenizer.chat_template:
            raise InvalidRequest("this model has no chat template; give the prompt as text")
        text = self.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    # --- in the background loop --------------------------------------------------------------------------------------

    async def _tracked(self, work: Coroutine[object, object, None]) -> None:
        """`work`, which ends when the client is closed."""
        task = asyncio.current_task()
        self._running.add(task)
        try:
            await work
        except asyncio.CancelledError:
            if self._closed:
                raise SwarmError("the client was closed while it was generating") from None
            raise
        finally:
            self._running.discard(task)

    async def _fill(self, generation: Generation, options: GenerateOptions) -> None:
        async for _ in self._generator.run(generation, options):
            pass

    async def _run_all(self, generations: list[Generation], options: GenerateOptions, on_piece: OnPiece) -> None:
        """Fill all of `generations` at once, as far as max_concurrent allows. The first error ends them all, and
        carries what there is by then."""
        slots = asyncio.Semaphore(self._limits.max_concurrent)

        async def fill(index: int) -> None:
            async with slots:
                async for piece in self._generator.run(generations[index], options):
                    on_piece(index, piece)

        try:
            async with asyncio.TaskGroup() as group:
                for index in range(len(generations)):
                    group.create_task(fill(index))
        except BaseExceptionGroup as errors:
            error = errors.exceptions[0]
            if isinstance(error, SwarmError):
                error.generations = generations
            raise error from None
