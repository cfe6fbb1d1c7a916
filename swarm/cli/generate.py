"""`python -m swarm generate "..."`"""

import argparse
import json
import sys

from swarm.cli.support.arguments import add_json
from swarm.cli.support.clients import add_client_arguments, generate_options, make_client
from swarm.cli.support.generations import describe
from swarm.cli.support.streamed import Streamed
from swarm.cli.support.terminal import read_text, run


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m swarm generate",
        usage="python -m swarm generate [options] PROMPT",
        description="Generate from a prompt on a swarm.",
    )
    parser.add_argument("prompt", help="text to continue; - reads it from standard input")
    parser.add_argument("--chat", action="store_true", help="put the prompt through the model's chat template")
    parser.add_argument("--ignore-eos", action="store_true", help="go on after the model's end token")
    add_json(parser, "print one JSON object at the end")
    add_client_arguments(parser)
    return run(parser, arguments, _generate)


def _generate(args: argparse.Namespace) -> None:
    text = read_text("the prompt") if args.prompt == "-" else args.prompt
    prompt = [{"role": "user", "content": text}] if args.chat else text
    options = generate_options(args)
    options["ignore_eos"] = args.ignore_eos
    shown = Streamed()
    with make_client(args) as client, shown.between_lines():
        stream = client.stream(prompt, **options)
        for piece in stream:
            if not args.json:
                shown.write(str(piece))
    # Now that the client is closed, no audit is under way any more.
    if args.json:
        print(json.dumps(stream.generation.to_dict()))
    else:
        print(f"\n\n{describe(stream.generation)}", file=sys.stderr)
