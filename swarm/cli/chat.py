"""`python -m swarm chat`: a conversation in the terminal."""

import argparse
import io
import sys

from swarm.cli.support.clients import add_client_arguments, generate_options, make_client
from swarm.cli.support.terminal import run


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m swarm chat",
        usage="python -m swarm chat [options]",
        description="Talk with an instruction-tuned model on a swarm. Ctrl-D ends.",
    )
    parser.add_argument("--system", metavar="TEXT", help="system message")
    add_client_arguments(parser)
    return run(parser, arguments, _chat)


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
