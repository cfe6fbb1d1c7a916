"""What `python -m swarm identity` takes. Imports nothing heavy."""

from swarm.cli.parsers.words import DTYPE_NAMES, QUANTS
from swarm.cli.support import parsing
from swarm.cli.support.arguments import add_json, add_model
from swarm.cli.support.parser import Parser
from swarm.storage.files import expanded


def make_parser() -> Parser:
    parser = Parser(
        "identity",
        description="Print one line per block of a model, MODEL@DIGEST/BLOCK/QUANT/DTYPE, and the root over all: two "
        "sides that print the same hold the same weights, byte for byte. Servers announce the root of their blocks. "
        "This machine's keys, and how to move one to another: {prog} keys, export, import.",
    )
    add_model(parser)
    add = parser.add_argument
    add("--blocks", type=parsing.blocks, metavar="START:STOP", help="STOP excluded (default: all)")
    add("--quant", default="none", choices=QUANTS, help="to name in the lines (default: none)")
    add("--dtype", default="float32", choices=DTYPE_NAMES, help="to name in the lines (default: float32)")
    add(
        "--check",
        nargs="+",
        metavar="LINE",
        default=[],
        help="compare these lines, from another machine, with the files here, and say in one whether they are the same",
    )
    add_json(parser)
    _add_key_verbs(parser)
    return parser


def _add_key_verbs(parser: Parser) -> None:
    verbs = parser.add_verbs(required=False)

    def add(name: str, purpose: str) -> Parser:
        verb = verbs.add_parser(
            name, help=f"{purpose[0].lower()}{purpose[1:].split(':')[0].rstrip('.')}", description=purpose
        )
        add_json(verb)
        return verb

    add("keys", "List this machine's keys.")
    moves = add("export", "Move a key to another machine: with its receipts, vouchers and all that protects its owner, "
                "into one file, which whoever has it can use like the key. Here it is not used any more.")  # fmt: skip
    moves.add_argument("key", help="\"client\", the number of a server's key (see keys), the end of its peer "
                       "id, or a key's file")  # fmt: skip
    moves.add_argument("file", type=expanded, help="to write")
    taking = add("import", "Take in a key that was exported on another machine.")
    taking.add_argument("file", type=expanded, help="that was written there")
