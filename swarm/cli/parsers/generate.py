"""What `python -m swarm generate` takes. Imports nothing heavy."""

from swarm.cli.parsers.clients import add_client_arguments
from swarm.cli.support.arguments import add_json
from swarm.cli.support.parser import Parser


def make_parser() -> Parser:
    parser = Parser(
        "generate",
        usage="{prog} [options] PROMPT ...",
        description="Generate from a prompt on a swarm.",
    )
    add = parser.add_argument
    add("prompt", nargs="*", metavar="PROMPT", help="text to continue, in quotation marks or not; - reads it from "
        "standard input")  # fmt: skip
    add("--chat", action="store_true", help="put the prompt through the model's chat template")
    add("--ignore-eos", action="store_true", help="go on after the model's end token")
    add_json(parser, "print one JSON object at the end")
    add_client_arguments(parser)
    return parser
