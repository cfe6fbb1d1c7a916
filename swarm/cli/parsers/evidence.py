"""What `python -m swarm evidence` takes. Imports nothing heavy."""

from swarm.cli.support import parsing
from swarm.cli.support.arguments import add_json, add_model
from swarm.cli.support.exits import REFUTED
from swarm.cli.support.parser import Parser
from swarm.storage.files import expanded


def make_parser() -> Parser:
    parser = Parser(
        "evidence",
        description="A client that audits writes down what may convict a peer: the peer's receipts, what it was given "
        "and what it made of it. Whoever has the model's files can examine that, anywhere. The exit status is 0 if it "
        f"convicts everybody whom it accuses, and {REFUTED} if not.",
    )
    verbs = parser.add_verbs()
    listing = verbs.add_parser("list", help="evidence and proofs that are kept on this machine")
    examining = verbs.add_parser("examine", help="check files of evidence, and compute again what they are about")
    add_model(examining)
    add = examining.add_argument
    add("files", nargs="+", type=expanded, metavar="FILE", help="of several about one peer, the suspicions add up")
    add("--threads", type=parsing.threads, metavar="N", help="to compute with (default: as many as there are cores)")
    proving = verbs.add_parser("proof", help="check a proof by signatures alone, which takes no model")
    proving.add_argument("file", type=expanded, metavar="FILE")
    saving = verbs.add_parser("save", help="write the proof by which a peer was convicted here to a file")
    saving.add_argument("peer", metavar="PEER_ID", help="the end of its id will do")
    saving.add_argument("-o", "--out", type=expanded, required=True, metavar="FILE", help="to write")
    for verb in (listing, examining, proving, saving):
        add_json(verb)
    return parser
