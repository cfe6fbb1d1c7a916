"""A chat that streams, in twenty lines. (`python -m swarm chat` is the same with options.)

python -m swarm.server &
python examples/chat.py
"""

import swarm


def main() -> None:
    messages: list[dict[str, str]] = [{"role": "system", "content": "You are a helpful assistant. Be brief."}]
    with swarm.Client("demo") as client:
        while question := input("> "):
            messages.append({"role": "user", "content": question})
            stream = client.stream(messages, max_new_tokens=200, temperature=0.7, top_p=0.9, repetition_penalty=1.1)
            for piece in stream:
                print(piece, end="", flush=True)
            print()
            messages.append({"role": "assistant", "content": stream.generation.text})


if __name__ == "__main__":
    main()
