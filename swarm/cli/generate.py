"""`python -m swarm generate "..."`"""

import argparse
import json
import sys

from swarm.cli.parsers.generate import make_parser
from swarm.cli.support.clients import generate_options, make_client, warn_of_greedy
from swarm.cli.support.generations import describe
from swarm.cli.support.streamed import Streamed
from swarm.cli.support.terminal import read_text, run
from swarm.errors import InvalidRequest


def main(arguments: list[str]) -> int:
    return run(make_parser(), arguments, _generate)


def _generate(args: argparse.Namespace) -> None:
    text = _prompt(args)
    prompt = [{"role": "user", "content": text}] if args.chat else text
    options = generate_options(args)
    options["ignore_eos"] = args.ignore_eos
    warn_of_greedy(options)
    shown = Streamed()
    with make_client(args) as client, shown.between_lines():
        stream = client.stream(prompt, **options)
        for piece in stream:
            if not args.json:
                shown.write(str(piece))
        shown.end_line()
    # Now that the client is closed, no audit is under way any more.
    if args.json:
        print(json.dumps(stream.generation.to_dict()))
    else:
        print(f"\n{describe(stream.generation)}", file=sys.stderr)


def _prompt(args: argparse.Namespace) -> str:
    """Raises InvalidRequest."""
    if args.prompt == ["-"]:
        text = read_text("the prompt")
        if not text:
            raise InvalidRequest("the prompt on standard input is empty")
        return text
    text = " ".join(args.prompt)
    if not text:
        taken = next((f"--{name}" for name in ("peers", "trusted", "excluded", "stop") if getattr(args, name)), "")
        advice = (
            f", before {taken}, which takes all words that follow it" if taken else "; - reads it from standard input"
        )
        raise InvalidRequest(f"the prompt is empty: say what is to be continued{advice}")
    return text
