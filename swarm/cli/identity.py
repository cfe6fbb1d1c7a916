"""`python -m swarm identity`: what the weights in a model's files are known by, and whether others hold the same."""

import argparse
import json

from swarm.cli import keys
from swarm.cli.support.arguments import add_json, add_model
from swarm.cli.support.terminal import run
from swarm.errors import RevisionMismatch
from swarm.home import digests_folder
from swarm.model.blocks import check_block_range, parse_block_range
from swarm.model.checkpoint import Checkpoint, open_checkpoint
from swarm.model.digest_cache import DigestCache
from swarm.model.identity import BlockId, weights_root
from swarm.wire.codec import DTYPES
from swarm_kernels import QUANTS


def main(arguments: list[str]) -> int:
    if arguments and arguments[0] in keys.VERBS:
        return keys.main(arguments)
    parser = argparse.ArgumentParser(
        prog="python -m swarm identity",
        description="Print one line per block of a model, MODEL@DIGEST/BLOCK/QUANT/DTYPE, and the root over all: two "
        "sides that print the same hold the same weights, byte for byte. Servers announce the root of their blocks. "
        "This machine's keys, and how to move one to another: python -m swarm identity keys, export, import.",
    )
    add_model(parser)
    add = parser.add_argument
    add("--blocks", metavar="START:STOP", help="STOP excluded (default: all)")
    add("--quant", default="none", choices=QUANTS, help="to name in the lines (default: none)")
    add("--dtype", default="float32", choices=DTYPES, help="to name in the lines (default: float32)")
    add(
        "--check",
        nargs="+",
        metavar="LINE",
        default=[],
        help="print nothing, but compare these lines, from another machine, with the files here",
    )
    add_json(parser)
    return run(parser, arguments, _identity)


def _identity(args: argparse.Namespace) -> None:
    checkpoint, cache = open_checkpoint(args.model, args.revision), DigestCache(digests_folder())
    if args.check:
        for line in args.check:
            _check(BlockId.parse(line), checkpoint, cache)
        print(f"{len(args.check)} of {len(args.check)} blocks have the weights of the files here")
        return
    start, stop = parse_block_range(args.blocks) if args.blocks else (0, checkpoint.config.num_blocks)
    check_block_range(start, stop, checkpoint.config)
    digests = cache.digests(checkpoint, start, stop)
    ids = [
        BlockId(checkpoint.name, digest, index, f"{args.quant}/{args.dtype}")
        for index, digest in enumerate(digests, start)
    ]
    root = weights_root(digests).hex()
    if args.json:
        print(
            json.dumps(
                {
                    "model": checkpoint.name,
                    "revision": checkpoint.revision,
                    "blocks": [start, stop],
                    "root": root,
                    "ids": list(map(str, ids)),
                }
            )
        )
    else:
        print(*ids, f"root of blocks {start}:{stop}: {root}", sep="\n")


def _check(claim: BlockId, checkpoint: Checkpoint, cache: DigestCache) -> None:
    """Raises RevisionMismatch if the files here hold something else."""
    ours = cache.digest(checkpoint, claim.index)
    if ours != claim.digest:
        raise RevisionMismatch(
            f"block {claim.index} of {checkpoint.name!r} has the digest {ours.hex()} here, not {claim.digest.hex()}; "
            "the two sides hold different files"
        )
