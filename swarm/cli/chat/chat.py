"""A chat from the first line to the last."""

import sys
from dataclasses import dataclass

from swarm.cli.chat.answering import Answering
from swarm.cli.chat.commands import Commands
from swarm.cli.chat.conversation import Conversation
from swarm.cli.chat.interrupts import Interrupts
from swarm.cli.chat.lines import Lines
from swarm.cli.support.shutdown import SHUTDOWN
from swarm.cli.support.streamed import Streamed
from swarm.errors import SwarmError

_HOW_TO_LEAVE = "(Ctrl-C again, Ctrl-D or /quit leaves; /help lists what else there is)"


@dataclass(frozen=True)
class Chat:
    """What one is made of."""

    lines: Lines
    conversation: Conversation
    answering: Answering
    commands: Commands
    interrupts: Interrupts
    shown: Streamed

    def run(self) -> bool:
        """Until the lines end, a command ends it, or Ctrl-C comes twice at the prompt. Whether all went well."""
        is_well, wants_out = True, False
        while not self.commands.is_over:
            try:
                with self.shown.held(), self.interrupts.stop() as stopped:
                    line = self.lines.read()
                if stopped.by_user:
                    if wants_out:
                        break
                    wants_out = True
                    self.shown.note(_HOW_TO_LEAVE)
                    continue
                if line is None:
                    break
                wants_out = False
                is_well = self._hear(line) and is_well
            except KeyboardInterrupt:  # just when there was nothing to stop any more
                if SHUTDOWN.is_told or not sys.stdin.isatty():
                    raise
        return is_well

    def _hear(self, line: str) -> bool:
        """Whether what the line is for was done."""
        try:
            if line.startswith("/"):
                self.commands.carry_out(line)
            elif line.strip():
                self.answering.check(self.conversation, line)
                self.conversation.ask(line)
                self.answering.answer(self.conversation)
            else:
                return True
        except SwarmError as error:
            self.shown.note(f"error: {error}")
            return False
        except OSError as error:
            if error.filename is None:  # what is printed goes nowhere
                raise
            self.shown.note(f"error: {error.filename} cannot be used: {error.strerror}")
            return False
        return not self.answering.failed
