"""What `python -m swarm models` takes. Imports nothing heavy."""

from swarm.cli.parsers.words import QUANTS
from swarm.cli.support import parsing
from swarm.cli.support.arguments import add_json, add_members
from swarm.cli.support.parser import Parser


def make_parser() -> Parser:
    parser = Parser(
        "models",
        usage="{prog} [options] MODEL [MODEL ...]",
        description="How large a model's blocks are in each format, how many of them a server with so much memory "
        "takes, and what they earn at the prices of a swarm. Reads configs and headers, no weights.",
    )
    add = parser.add_argument
    known = "Hugging Face repository, folder, .gguf file, config.json, or 'demo'"
    add("models", nargs="+", metavar="MODEL", help=known)
    add("--revision", metavar="REV", help="branch, tag or commit of a Hugging Face repository")
    add("--quant", nargs="+", choices=QUANTS, default=QUANTS, metavar="FORMAT", help=f"of {', '.join(QUANTS)} (all)")
    sizes = "for blocks and cache, as --memory of a server (default: 4G to 80G, and 80%% of what is free here)"
    add("--memory", nargs="+", type=parsing.size, metavar="SIZE", help=sizes)
    add("--kv-memory", type=parsing.size, metavar="SIZE", help="of that, for keys and values (default: 1G)")
    sessions = "say for how many sessions of this length the cache has room"
    add("--context", type=parsing.count, metavar="TOKENS", help=sessions)
    add("--sessions", type=parsing.count, metavar="N", help="make room for so many of them, in place of --kv-memory")
    add_members(parser)
    add_json(parser)
    add("--markdown", action="store_true", help="one table of blocks for a page, without this machine and prices")
    return parser
