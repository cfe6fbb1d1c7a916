"""What a contributor reads of a server's life."""

import os
import sys
from typing import NoReturn

from tqdm import tqdm

from swarm.cli.support.commands import generate_command, serve_command
from swarm.cli.support.events import Events
from swarm.route.peer import PeerInfo
from swarm.server import life
from swarm.server.config import ServerConfig
from swarm.wire.formats.amounts import format_amount
from swarm.wire.formats.quotes import Quote
from swarm.wire.transport import join_address


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

    def _tell_ready(self, ready: life.Ready) -> None:
        record, config = ready.record, self._config
        lines = [
            f"Serving blocks {record.start}:{record.stop} of {record.num_blocks} of {config.model} ({_format(record)}) "
            f"at {join_address(record.endpoint.host, record.endpoint.port)}, room for {ready.room_tokens:,} tokens.",
            f"Peer {record.peer_id}, process {os.getpid()}",
            *([_asked(record.asks)] if config.billing else []),
            "",
            *self._invitation(ready),
            "On this machine --peers may be left out. Ctrl-C, or `python -m swarm stop`, leaves the swarm.",
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
        )

    def _invitation(self, ready: life.Ready) -> list[str]:
        """How others join, and use it."""
        config, record = self._config, ready.record
        host = f"/{record.endpoint.host}/"
        address = next((address for address in ready.addresses if host in address), ready.addresses[0])
        how = "FILE" if config.secret else None, config.billing.ledger if config.billing else None
        lines = ["Another peer that has the secret joins with:" if config.secret else "Another peer joins with:"]
        for blocks in ready.gaps or [(0, record.num_blocks)]:
            lines.append(f"  {serve_command(config.model, [address], blocks, *how)}")
        if ready.gaps:
            ranges = ", ".join(f"{start}:{stop}" for start, stop in ready.gaps)
            return [*lines, f"Blocks {ranges} are not served by anyone yet."]
        command = generate_command("The capital of France is", config.model, [address], *how)
        return [*lines, "", "All blocks are served. Try:", f"  {command}"]


def _warnings(ready: life.Ready) -> list[str]:
    """Of what keeps clients away."""
    record, lines = ready.record, []
    if ready.is_split:
        lines.append("Warning: other peers serve another revision of this model; chains cannot mix revisions.")
    return lines + _stake_warnings(ready) if record.asks.is_paid else lines


def _stake_warnings(ready: life.Ready) -> list[str]:
    from swarm.market.stake import quoted_stake

    needed = quoted_stake(ready.record.asks, ready.record.stop - ready.record.start)
    if ready.staked >= needed:
        return []
    wanted = f"{format_amount(needed)} credits at stake for these prices and blocks"
    has = format_amount(ready.staked)
    return [f"Warning: clients look for {wanted}; it has {has}. Most will not use it: see --stake."]


def _asked(quote: Quote) -> str:
    """What is asked, in words."""
    price = quote.price
    return (
        f"Asks {format_amount(price.decode)} credits for a token through a block, {format_amount(price.prefill)} for "
        f"one of a prompt ({quote.mode}), on ledger {quote.ledger.hex()[:16]}."
    )


def _format(record: PeerInfo) -> str:
    return record.dtype if record.quant == "none" else f"{record.quant}, {record.dtype} activations"
