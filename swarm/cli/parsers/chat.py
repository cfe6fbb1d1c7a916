"""What `python -m swarm chat` takes. Imports nothing heavy."""

from swarm.cli.parsers.clients import add_client_arguments
from swarm.cli.support import parsing
from swarm.cli.support.parser import Parser
from swarm.storage.files import expanded

MAX_NEW_TOKENS = 512


def make_parser() -> Parser:
    parser = Parser(
        "chat",
        usage="{prog} [options]",
        description="Talk with an instruction-tuned model on a swarm: in a terminal, or by the lines of standard "
        "input. /help lists what can be done meanwhile; Ctrl-C stops an answer, Ctrl-D ends.",
    )
    add = parser.add_argument
    add("--system", metavar="TEXT", help="system message")
    add("--load", type=expanded, metavar="FILE", help="go on with a conversation that /save wrote")
    tokens = "of conversation and answer together (default: the model's)"
    add("--context", type=parsing.count, metavar="TOKENS", help=tokens)
    add("--no-history", dest="history", action="store_false", help="do not keep what is typed (nor with --sensitive)")
    add_client_arguments(parser, max_new_tokens=MAX_NEW_TOKENS, samples_as_model=True)
    return parser
