"""What `python -m swarm batch` takes. Imports nothing heavy."""

from swarm.cli.parsers.clients import add_client_arguments
from swarm.cli.support import parsing
from swarm.cli.support.arguments import add_json
from swarm.cli.support.parser import Parser
from swarm.storage.files import expanded

WAIT_S = 3600.0  # for peers, by default: nobody sits before it


def make_parser() -> Parser:
    parser = Parser(
        "batch",
        usage="{prog} PROMPTS -o ANSWERS [options]",
        description="Answer a file of prompts on what the swarm has left over. Run again with the same files, it goes "
        "on where it ended.",
    )
    add = parser.add_argument
    add("prompts", type=expanded, help='one a line: {"prompt": "...", "id": ..., "max_new_tokens": ...}, or just "..."')
    add("--output", "-o", type=expanded, required=True, metavar="FILE", help="answers, one JSON object a line")
    deadline = "2h, 1h30m or 2030-01-31T08:00; then on demand"
    add("--deadline", metavar="WHEN", help=deadline)
    add("--concurrency", type=parsing.count, default=16, metavar="N", help="prompts at once (default: 16)")
    add("--chat", action="store_true", help="put the prompts through the model's chat template")
    add("--ignore-eos", action="store_true", help="go on after the model's end token")
    add_json(parser, "print one JSON object at the end")
    add_client_arguments(parser)
    parser.set_defaults(wait=WAIT_S)
    return parser
