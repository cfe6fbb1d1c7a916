"""`python -m swarm VERB`: one command, many verbs. Each is a module with a main(arguments) of its own."""

import sys
from importlib import import_module

from swarm.cli.support.shutdown import SHUTDOWN

VERBS = {
    "server": ("swarm.cli.server", "serve blocks to a swarm (also: python -m swarm.server)"),
    "stop": ("swarm.cli.stop", "end this user's servers that run on this machine"),
    "generate": ("swarm.cli.generate", "generate from a prompt"),
    "batch": ("swarm.cli.batch", "answer a file of prompts on what the swarm has left over"),
    "chat": ("swarm.cli.chat", "talk with an instruction-tuned model"),
    "status": ("swarm.cli.status", "a live picture of the swarm: coverage, peers, load, speed"),
    "identity": (
        "swarm.cli.identity",
        "digests of a model's weights, to compare with others; keys, export, import: of this machine",
    ),
    "receipts": ("swarm.cli.receipts", "list, export and verify what peers signed for"),
    "evidence": ("swarm.cli.evidence", "examine evidence against peers by computing it again"),
    "auditor": ("swarm.cli.auditor", "sample a swarm's work, and check it (also: python -m swarm.auditor)"),
    "ledger": ("swarm.cli.ledger.verbs", "accounts, channels and stake, and the book that shows them"),
    "earnings": ("swarm.cli.earnings", "what this machine's servers have earned"),
    "secret": ("swarm.cli.secret", "print a new secret for a private swarm"),
    "calibrate": ("swarm.cli.calibrate", "measure where honest ends and cheating begins, for audits"),
    "demo": ("swarm.cli.demo", "three servers on this machine, two prompts, and what it took"),
}


def main() -> int:
    verb, *arguments = sys.argv[1:] or ["--help"]
    if verb in ("-h", "--help"):
        print("usage: python -m swarm VERB [options]\n\nverbs (each has --help):")
        for name, (_, purpose) in VERBS.items():
            print(f"  {name:10} {purpose}")
        return 0
    if verb not in VERBS:
        print(f"error: unknown verb {verb!r}; the verbs are {', '.join(VERBS)}", file=sys.stderr)
        return 2
    SHUTDOWN.listen(arguments)  # first: to import a verb takes seconds
    status: int = import_module(VERBS[verb][0]).main(arguments)
    SHUTDOWN.leave(status)


if __name__ == "__main__":
    sys.exit(main())
