"""Generate from a prompt on a swarm.

    python examples/generate.py "The capital of France is"

Uses the swarm that runs on this machine, or the one that SWARM_PEERS names. Without either, it starts three servers of
its own for as long as it runs.
"""

import sys

import swarm


def generate(prompt: str, peers: list[str] | None = None) -> None:
    with swarm.Client("demo", peers) as client:
        out = client.generate(prompt, max_new_tokens=32)
        print(prompt + out.text)
        for hop in out.route:
            print(f"  blocks {hop.blocks[0]}:{hop.blocks[1]} by {hop.peer_id} at {hop.address}")
        print(f"  {out.tokens_per_second:.1f} tokens/s, first token after {out.time_to_first_token_s * 1000:.0f} ms")


def main() -> None:
    prompt = " ".join(sys.argv[1:]) or "The capital of France is"
    try:
        generate(prompt)
    except swarm.PeerUnreachable:  # no swarm here yet
        with swarm.LocalSwarm("demo", blocks=["0:10", "10:20", "20:30"], threads=1) as local:
            generate(prompt, local.peers)


if __name__ == "__main__":
    main()
