"""What `python -m swarm chat` takes. Imports nothing heavy."""

from swarm.cli.parsers.clients import add_client_arguments
from swarm.cli.support.parser import Parser


def make_parser() -> Parser:
    parser = Parser(
        "chat",
        usage="{prog} [options]",
        description="Talk with an instruction-tuned model on a swarm. Ctrl-D ends.",
    )
    parser.add_argument("--system", metavar="TEXT", help="system message")
    add_client_arguments(parser)
    return parser
