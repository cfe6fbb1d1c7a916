"""What `python -m swarm auditor` takes. Imports nothing heavy."""

from swarm.cli.parsers.words import LOCAL, PEERS
from swarm.cli.support import logs, parsing
from swarm.cli.support.arguments import add_json, add_members, add_model
from swarm.cli.support.parser import Parser
from swarm.market.ledger.ledger import DAY_S

EVERY_S = 60.0


def make_parser() -> Parser:
    parser = Parser(
        "auditor",
        description="Sample a swarm's work: generate as a user would, at random times, from ever new prompts, through "
        "each of the peers in turn, and have what they computed computed again. Peers that cheat are written down with "
        "the evidence, and announced if it is proof. Until Ctrl-C, SIGTERM or SIGHUP, which give the summary; a second "
        "one ends it at once.",
    )
    add_model(parser)
    add_members(parser)
    _add_work(parser)
    _add_pay(parser)
    add_json(parser, "print one JSON object a line")
    logs.add_options(parser)
    return parser


def _add_work(parser: Parser) -> None:
    add = parser.add_argument
    by_whom = (
        "who computes again, as far as they can: this machine, if it has the model's files, or rather other peers of "
        "the same numerics (default: %(default)s)"
    )
    add("--audit", choices=(LOCAL, PEERS), default=LOCAL, help=by_whom)
    add(
        "--audit-rate",
        type=parsing.share,
        default=1.0,
        metavar="X",
        help="share of the work that is audited (default: 1)",
    )
    every = "seconds between rounds, about (default: 60)"
    add("--every", type=parsing.seconds, default=EVERY_S, metavar="S", help=every)
    add("--rounds", type=parsing.count, metavar="N", help="end after so many (default: never)")
    add("--budget", type=parsing.whole(2), metavar="TOKENS", help="end once peers have computed so many")


def _add_pay(parser: Parser) -> None:
    add = parser.add_argument
    add("--ledger", metavar="WHERE", help="pay peers there, as a user would (default: SWARM_LEDGER, if set)")
    arbiter = "slash the stake of peers that are convicted: for whoever has the key of the ledger's arbiter"
    add("--arbiter", action="store_true", help=arbiter)
    validator = (
        "score peers in the ledger's epochs, by what this machine itself computed again; takes stake, and the model's "
        "files. Keep it running: who does not reveal earns nothing"
    )
    add("--validator", action="store_true", help=validator)
    epoch = "with --validator: how long the ledger's epochs last (default: a day)"
    add("--epoch", type=parsing.seconds, default=DAY_S, metavar="S", help=epoch)
