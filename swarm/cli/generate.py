"""`python -m swarm generate "..."`"""

import argparse
import json
import sys
from dataclasses import asdict

from swarm.cli.support.arguments import add_json
from swarm.cli.support.clients import add_client_arguments, generate_options, make_client
from swarm.cli.support.generations import audit_as_json, describe
from swarm.cli.support.streamed import Streamed
from swarm.cli.support.terminal import read_text, run
from swarm.results import Generation


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
    options = {**generate_options(args), "ignore_eos": args.ignore_eos}
    shown = Streamed()
    with make_client(args) as client, shown.between_lines():
        stream = client.stream(prompt, **options)
        for piece in stream:
            if not args.json:
                shown.write(str(piece))
    # Now that the client is closed, no audit is under way any more.
    if args.json:
        print(json.dumps(_as_json(stream.generation)))
    else:
        print(f"\n\n{describe(stream.generation)}", file=sys.stderr)


def _as_json(generation: Generation) -> dict[str, object]:
    return {
        "text": generation.text,
        "token_ids": generation.token_ids,
        "finish_reason": generation.finish_reason,
        "route": [{"peer_id": hop.peer_id, "blocks": hop.blocks, "address": hop.address} for hop in generation.route],
        "tokens_per_second": round(generation.tokens_per_second, 2),
        "time_to_first_token_s": round(generation.time_to_first_token_s, 4),
        "reroutes": generation.reroutes,
        "receipts": len(generation.receipts),
        "faults": [
            {"peer_id": fault.peer_id, "kind": fault.kind.name.lower(), "detail": fault.detail}
            for fault in generation.faults
        ],
        "audits": [audit_as_json(audit) for audit in generation.audits],
        "verified": generation.verified,
        "cost": generation.cost,
        "payments": [asdict(payment) for payment in generation.payments],
    }
