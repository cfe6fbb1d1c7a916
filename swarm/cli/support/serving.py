"""What a contributor reads of a server's life."""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from tqdm import tqdm

from swarm.cli.support.events import Events
from swarm.commands import EVERYWHERE, Invitation, is_shared_ledger, pasted_model
from swarm.errors import in_words
from swarm.home.servers import running_servers
from swarm.program import command
from swarm.server import life
from swarm.server.config import ServerConfig
from swarm.wire.dtypes import format_in_words
from swarm.wire.formats.amounts import format_amount, format_credits
from swarm.wire.formats.quotes import Quote
from swarm.wire.hosts import is_loopback, join_address, moved_to
from swarm.wire.peer_names import short_id


class Narrator:
    """Tells all that happens to one server."""

    def __init__(self, config: ServerConfig, events: Events):
        self._config, self._events = config, events
        self._bar: tqdm[NoReturn] | None = None  # of the load that is going on
        self.is_serving = False  # there may be sessions, which are to be drained

    def tell(self, event: life.Event) -> None:
        """For swarm.server.life.run."""
        match event:
            case life.Starting():
                self.is_serving = False
            case life.Asking(blocks, quote, staked):
                self._tell_stake(blocks, quote, staked)
            case life.Loading(done, total):
                self.is_serving = done == total  # within a moment: it is online before it is Ready
                self._show_progress(done, total)
            case life.Ready():
                self.is_serving = True
                self._tell_ready(event)
            case life.Moving((start, stop), reason):
                text = f"Blocks {start}:{stop} help the swarm more ({reason}): moving there."
                self._events.tell("moving", text, blocks=[start, stop], reason=reason)
            case life.Draining():
                text = "leaving: open sessions may finish; press Ctrl-C again to stop at once"
                self._events.tell("draining", text)
            case life.Stopped():
                self._events.tell("stopped", "left the swarm")

    def _show_progress(self, done: int, total: int) -> None:
        """A bar, if it takes longer than a second. Where there is no terminal, the loader logs it in one line."""
        silent = self._events.as_json or not sys.stderr.isatty()
        bar = self._bar or tqdm(total=total, desc="loading blocks", unit="block", delay=1, disable=silent, leave=False)
        bar.update(done - bar.n)
        if done == total:
            bar.close()
        self._bar = bar if done < total else None

    def _tell_stake(self, blocks: tuple[int, int], quote: Quote, staked: int) -> None:
        """Before it loads: whoever has too little need not wait for that."""
        needed = _needed_stake(quote, blocks)
        if not needed:
            return
        has = f"Clients look for {format_credits(needed)} at stake for these prices and blocks {blocks[0]}:{blocks[1]}"
        text = f"{has}; this server has {format_amount(staked)}."
        if staked < needed:
            text += f" Most will not use it: start it with --stake {format_amount(needed)}, which says how to fund it."
        self._events.tell("stake", text, blocks=list(blocks), needed=needed, staked=staked)

    def _tell_ready(self, ready: life.Ready) -> None:
        record, config, invitation = ready.record, self._config, self._invitation(ready)
        lines = [
            f"Serving blocks {record.start}:{record.stop} of {record.num_blocks} of {config.model} "
            f"({format_in_words(record.quant, record.dtype)}) "
            f"at {join_address(record.endpoint.host, record.endpoint.port)}, room for {ready.room_tokens:,} tokens.",
            f"Peer {record.peer_id}, process {os.getpid()}",
            *([_asked(record.asks)] if config.billing else []),
            "",
            *_invited(invitation, ready, is_local_model=pasted_model(config.model) != config.model),
            f"Ctrl-C, or `{_stops(record.peer_id)}`, leaves the swarm.",
            *_warnings(ready),
        ]
        self._events.tell(
            "ready",
            "\n".join(lines),
            pid=os.getpid(),
            peer_id=record.peer_id,
            blocks=[record.start, record.stop],
            dtype=record.dtype,
            quant=record.quant,
            numerics_id=record.numerics_id,
            host=record.endpoint.host,
            port=record.endpoint.port,
            addresses=ready.addresses,
            join=[invitation.serve(gap) for gap in ready.gaps or [None]],
        )

    def _invitation(self, ready: life.Ready) -> Invitation:
        """How others join, through this server."""
        config, record = self._config, ready.record
        from_afar = not is_loopback(record.endpoint.host)
        return Invitation(
            pasted_model(config.model) if from_afar else config.model,
            record.quant,
            record.dtype,
            config.revision,
            [_reached_at(ready.addresses, record.endpoint.host)],
            is_private=config.secret is not None,
            ledger=config.billing.ledger if config.billing else None,
            from_afar=from_afar,
        )


def _invited(invitation: Invitation, ready: life.Ready, is_local_model: bool) -> list[str]:
    """How others join, and use it."""
    has = ["the secret (FILE)"] if invitation.is_private else []
    has += [f"the model's files ({invitation.model})"] if is_local_model and invitation.from_afar else []
    who = f"Another peer that has {' and '.join(has)}" if has else "Another peer"
    where = "" if invitation.from_afar else " on this machine"
    lines = [f"{who} joins{where} with:", *(f"  {invitation.serve(gap)}" for gap in ready.gaps or [None])]
    if ready.gaps:
        lines.append(f"Blocks {in_words(ready.gaps)} are not served by anyone yet.")
    else:
        served = f"Blocks {in_words(ready.loading)} are being loaded" if ready.loading else "All blocks are served"
        lines += ["", f"{served}. Try:", f"  {invitation.generate('The capital of France is')}"]
    if invitation.from_afar:
        lines.append("On this machine --peers may be left out.")
    else:
        lines.append(f"Only this machine reaches it; for others, start it with --host {EVERYWHERE}.")
    if invitation.from_afar and invitation.ledger and not is_shared_ledger(invitation.ledger):
        lines.append("Its ledger is on this machine alone: for peers elsewhere to be paid, see `ledger serve`.")
    return lines


def _stops(peer_id: str) -> str:
    """The command that ends this server: it needs a name where there are others."""
    servers = running_servers()
    for server in servers:
        server.close()
    is_alone = all(server.pid == os.getpid() for server in servers)
    return command("stop") if is_alone else command("stop", short_id(peer_id))


def _reached_at(addresses: Sequence[str], host: str) -> str:
    """The one of a node's addresses that others reach who reach the server at `host`."""
    own = f"/{host}/"
    return next((address for address in addresses if own in address), None) or moved_to(addresses[0], host)


def _warnings(ready: life.Ready) -> list[str]:
    """Of what keeps clients away."""
    record, lines = ready.record, []
    if ready.is_split:
        lines.append("Warning: other peers serve another revision of this model; chains cannot mix revisions.")
    if ready.is_apart:
        lines.append(
            f"Warning: other peers are on other machines, and cannot reach this one at {record.endpoint.host}; "
            f"start it with --host {EVERYWHERE}."
        )
    return lines + _stake_warnings(ready) if record.asks.is_paid else lines


def _stake_warnings(ready: life.Ready) -> list[str]:
    needed = _needed_stake(ready.record.asks, ready.record.blocks)
    if ready.staked >= needed:
        return []
    has = f"{format_amount(ready.staked)} of the {format_credits(needed)} at stake"
    return [f"Warning: it has {has} that clients look for. Most will not use it: see --stake."]


def _needed_stake(quote: Quote, blocks: tuple[int, int]) -> int:
    """Nano-credits, see swarm.market.stake."""
    from swarm.market.stake import quoted_stake

    return quoted_stake(quote, blocks[1] - blocks[0])


def _asked(quote: Quote) -> str:
    """What is asked, in words."""
    price = quote.price
    return (
        f"Asks {format_credits(price.decode)} for a token through a block, {format_amount(price.prefill)} for "
        f"one of a prompt ({quote.mode}), on ledger {quote.ledger.hex()[:16]}."
    )
