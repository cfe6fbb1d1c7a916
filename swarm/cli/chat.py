"""`python -m swarm chat`: a conversation in the terminal."""

import argparse
import io
import sys

from swarm.cli.parsers.chat import make_parser
from swarm.cli.support.clients import generate_options, make_client
from swarm.cli.support.terminal import run


def main(arguments: list[str]) -> int:
    return run(make_parser(), arguments, _chat)


def _chat(args: argparse.Namespace) -> None:
    # A line that is no text is refused as a prompt, in one line, and not by the terminal's own decoder.
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")
    messages = [{"role": "system", "content": args.system}] if args.system else []
    with make_client(args) as client:
        while True:
            try:
                messages.append({"role": "user", "content": input("> ")})
            except EOFError:
                print()
                return
            stream = client.stream(messages, **generate_options(args))
            for piece in stream:
                print(piece, end="", flush=True)
            print()
            messages.append({"role": "assistant", "content": stream.generation.text})
