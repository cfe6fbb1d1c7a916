"""`python -m swarm chat`: a conversation in the terminal, or by the lines of a script."""

import argparse
import os
import sys
from contextlib import nullcontext
from typing import cast

from swarm.cli.chat.answering import Answering, Limits
from swarm.cli.chat.chat import Chat
from swarm.cli.chat.commands import Commands
from swarm.cli.chat.conversation import Conversation, check_system, load
from swarm.cli.chat.interrupts import Interrupts
from swarm.cli.chat.lines import Lines, StandardInput
from swarm.cli.parsers.chat import make_parser
from swarm.cli.support.clients import generate_options, make_client
from swarm.cli.support.streamed import Streamed
from swarm.cli.support.terminal import run
from swarm.client.client import Client
from swarm.errors import InvalidRequest, ModelError
from swarm.generate.options import GenerateKeywords
from swarm.home import has_home, swarm_home
from swarm.shown import count

HISTORY = "chat_history"  # under SWARM_HOME
UNSAID = {"temperature": 0.7, "top_p": 0.9}  # where a model's makers do not say how to sample
_SAMPLING = ("temperature", "top_k", "top_p", "repetition_penalty")


def main(arguments: list[str]) -> int:
    return run(make_parser(), arguments, _chat)


def _chat(args: argparse.Namespace) -> int:
    conversation = load(args.load) if args.load else Conversation()
    if args.system is not None:
        check_system(args.system)
        conversation.system = args.system
    is_typed, shown, interrupts = sys.stdin.isatty(), Streamed(), Interrupts()
    with make_client(args) as client, shown.between_lines():
        limits = _limits(client, args)
        sampling, source = _sampling(client, args, shown)
        options = {name: value for name, value in generate_options(args).items() if value is not None} | sampling
        answering = Answering(client, cast(GenerateKeywords, options), limits, interrupts, shown)
        commands = Commands(conversation, answering, shown, args.model, args.load)
        if is_typed:
            _greet(args.model, conversation, limits, f"{_in_words(sampling)} ({source})", shown)
        lines = _find_lines(shown, keeps_history=args.history and not args.sensitive)
        with interrupts.heeded() if is_typed else nullcontext():
            went_well = Chat(lines, conversation, answering, commands, interrupts, shown).run()
    return 0 if went_well or is_typed else 1


def _limits(client: Client, args: argparse.Namespace) -> Limits:
    """Raises InvalidRequest for a model that one cannot talk with."""
    if not getattr(client.tokenizer, "chat_template", None):
        raise InvalidRequest(f"{args.model} has no chat template, so one cannot talk with it; use the verb generate")
    context = min(args.context or client.config.max_context, client.config.max_context)
    return Limits(min(args.max_new_tokens, context), context)


def _sampling(client: Client, args: argparse.Namespace, shown: Streamed) -> tuple[dict[str, float], str]:
    """Options of `generate`, and who says so."""
    given = {name: getattr(args, name) for name in _SAMPLING if getattr(args, name) is not None}
    try:
        recommended = client.generation_defaults
    except ModelError as error:
        shown.note(f"warning: {error}; it is left aside")
        recommended = {}
    is_said = "temperature" in recommended
    sampling = {**({} if is_said else UNSAID), **recommended, **given}
    if sampling["temperature"] == 0:
        sampling = {name: value for name, value in sampling.items() if name not in ("top_k", "top_p")}
    if sampling.items() <= given.items():
        return sampling, "as asked for"
    return sampling, "as the model's makers recommend" if is_said else "the model does not say how"


def _in_words(sampling: dict[str, float]) -> str:
    words = [f"{name} {value:g}" for name, value in sampling.items() if name != "temperature"]
    temperature = sampling["temperature"]
    return ", ".join([f"temperature {temperature:g}" if temperature else "greedy", *words])


def _greet(model: str, conversation: Conversation, limits: Limits, sampling: str, shown: Streamed) -> None:
    shown.note(f"{model}: context {limits.context:,} tokens, answers up to {limits.answer:,}; sampling: {sampling}")
    if conversation.turns:
        shown.note(f"(going on after {count(len(conversation.turns), 'message')})")
    shown.note("/help lists what can be done; Ctrl-C stops an answer, Ctrl-D leaves.")


def _find_lines(shown: Streamed, keeps_history: bool) -> Lines:
    """By what standard input is."""
    if not sys.stdin.isatty():
        return StandardInput()
    if os.environ.get("TERM", "dumb") == "dumb" or not (sys.stdout.isatty() or sys.stderr.isatty()):
        return StandardInput(prompt="> ")
    from swarm.cli.chat.editor import Editor  # noqa: PLC0415 - scripts do without

    return Editor(swarm_home() / HISTORY if keeps_history and has_home() else None)
