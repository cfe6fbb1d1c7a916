"""What `python -m swarm calibrate` takes. Imports nothing heavy."""

from swarm.cli.parsers.words import BNB_FORMATS, QUANTS, SEGMENT, SERVED_DTYPES
from swarm.cli.support import parsing
from swarm.cli.support.arguments import add_model
from swarm.cli.support.parser import Parser
from swarm.storage.files import expanded


def make_parser() -> Parser:
    parser = Parser(
        "calibrate",
        description="Measure by how much honest peers differ from an audit's recomputation, and cheats from them, and "
        "keep the limits between both for audits of this model in this format. It takes a few minutes and no network.",
    )
    add_model(parser)
    add = parser.add_argument
    formats = [quant for quant in QUANTS if quant not in BNB_FORMATS]
    add("--quant", choices=formats, default="none", help="format of weights (default: none)")
    add("--dtype", choices=SERVED_DTYPES, default="bfloat16", help="of activations (default: bfloat16)")
    add(
        "--tokens",
        type=parsing.whole(SEGMENT),
        default=2048,
        metavar="N",
        help=f"of text, in segments of {SEGMENT} (default: 2048)",
    )
    add("--out", type=expanded, metavar="FILE", help="also write limits and measurements there, as JSON")
    add("--json", action="store_true", help="print that JSON instead of a table")
    return parser
