"""What a weight format costs in quality: perplexity and KL divergence against float32 on real text.

    python benchmarks/quality.py [--model demo] [--tokens 2000]

The text is Python's own reference documentation, which every Python carries (pydoc_data.topics), in windows of 500
tokens. Every format computes blocks and head as a server and a client of that format would.
"""

import harness.needs  # noqa: F401 - first: it says what is missing

import math
import pydoc_data.topics
from itertools import pairwise

import torch

from harness.report import Report, make_parser, print_table
from swarm.model import BlockRange, Checkpoint, ModelEnds, open_checkpoint
from swarm_kernels import QUANTS, Segment

PAGE = 32
TOPICS = ("assignment", "try", "class", "import", "naming", "with", "lambda", "numbers", "truth", "typesseq")
CASES = [
    ("none", "float32", "float32"),
    ("none", "bfloat16", "bfloat16"),
    *((quant, "bfloat16", "int8") for quant in QUANTS if quant != "none"),
    ("int4", "bfloat16", "int4"),  # why the head stays in int8
]


def text_tokens(checkpoint: Checkpoint, count: int) -> list[int]:
    text = "\n\n".join(pydoc_data.topics.topics[topic] for topic in TOPICS)
    tokens = checkpoint.load_tokenizer()(text)["input_ids"][:count]
    if len(tokens) < count:
        raise SystemExit(f"the text has only {len(tokens)} tokens; ask for fewer with --tokens")
    return tokens


def log_probabilities(
    checkpoint: Checkpoint, windows: list[list[int]], quant: str, dtype: torch.dtype, head: str
) -> torch.Tensor:
    """[tokens, vocab_size]: for each token what follows."""
    config = checkpoint.config
    blocks = BlockRange.load(checkpoint, 0, config.num_blocks, dtype, quant=quant)
    ends = ModelEnds.load(checkpoint, torch.float32, head)
    longest = max(map(len, windows))
    pages = list(range(-(-longest // PAGE)))
    shape = (len(pages), PAGE, config.num_kv_heads, config.head_dim)
    cache = [tuple(torch.zeros(shape, dtype=dtype) for _ in "kv") for _ in range(config.num_blocks)]
    rows = []
    for window in windows:
        batch = blocks.layout([Segment(pages, 0, len(window))], PAGE)
        hidden = blocks.forward(ends.embed(window).to(dtype), batch, cache)
        rows.append(ends.logits(hidden).log_softmax(-1))
    return torch.cat(rows)


def compare(checkpoint: Checkpoint, tokens: list[int], window: int) -> list[dict[str, object]]:
    cuts = [*range(0, len(tokens), window), len(tokens)]
    windows = [tokens[start:stop] for start, stop in pairwise(cuts)]
    # The last token of a window predicts what is outside it.
    scored = torch.cat([torch.arange(start, stop - 1) for start, stop in pairwise(cuts)])
    targets = torch.tensor(tokens)[scored + 1]
    exact = None
    results = []
    for quant, dtype, head in CASES:
        found = log_probabilities(checkpoint, windows, quant, getattr(torch, dtype), head)[scored]
        exact = found if exact is None else exact
        loss = float(-found.gather(1, targets[:, None]).mean())
        divergence = (exact.exp() * (exact - found)).sum(-1)
        results.append(
            {
                "format": dtype if quant == "none" else quant,
                "head": head,
                "perplexity": math.exp(loss),
                "mean KL": float(divergence.mean()),
                "99 % KL": float(divergence.quantile(0.99)),
                "same choice in %": 100 * float((found.argmax(-1) == exact.argmax(-1)).float().mean()),
            }
        )
        print(f"{results[-1]['format']} done", flush=True)
    for result in results:
        result["change in %"] = 100 * (result["perplexity"] / results[0]["perplexity"] - 1)
    return results


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--tokens", type=int, default=2000, metavar="N")
    parser.add_argument("--window", type=int, default=500, metavar="N", help="tokens of context (default: 500)")
    args = parser.parse_args()
    report = Report(args)
    checkpoint = open_checkpoint(args.model)
    results = compare(checkpoint, text_tokens(checkpoint, args.tokens), args.window)
    print_table(results)
    report.save("quality", {"model": args.model, "tokens": args.tokens, "formats": results})


if __name__ == "__main__":
    main()
