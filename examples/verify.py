"""Text whose every token was recomputed before it was delivered, and who signed for what.

    python examples/verify.py "The capital of France is"

On three servers of this machine; with your own swarm, only the client is needed.
"""

import sys

import swarm


def main() -> None:
    prompt = " ".join(sys.argv[1:]) or "The capital of France is"
    with (
        swarm.LocalSwarm("demo", ["0:10", "10:20", "20:30"], quant="int4") as local,
        swarm.Client("demo", peers=local.peers, audit="local") as client,
    ):
        out = client.generate(prompt, max_new_tokens=32, verify="full")
    print(prompt + out.text)
    for signed in out.receipts:
        start, stop = signed.blocks
        last = signed.first_position + signed.count - 1
        print(f"{signed.peer_id[-8:]} signed for blocks {start}:{stop}, positions {signed.first_position} to {last}")
    for audit in out.audits:
        print(audit)


if __name__ == "__main__":
    main()
