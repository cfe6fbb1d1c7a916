"""`python -m swarm identity`: what the weights in a model's files are known by, and whether others hold the same."""

import argparse
import json

from swarm.errors import RevisionMismatch
from swarm.home import digests_folder
from swarm.model.blocks import check_block_range
from swarm.model.checkpoint import Checkpoint, open_checkpoint
from swarm.model.digest_cache import DigestCache
from swarm.model.identity import BlockId, weights_root


def show(args: argparse.Namespace) -> None:
    checkpoint, cache = open_checkpoint(args.model, args.revision), DigestCache(digests_folder())
    if args.check:
        _check_all(args, checkpoint, cache)
        return
    start, stop = args.blocks or (0, checkpoint.config.num_blocks)
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


def _check_all(args: argparse.Namespace, checkpoint: Checkpoint, cache: DigestCache) -> None:
    for line in args.check:
        _check(BlockId.parse(line), checkpoint, cache)
    if args.json:
        print(json.dumps({"model": checkpoint.name, "revision": checkpoint.revision, "same": args.check}))
        return
    have = "block has" if len(args.check) == 1 else "blocks have"
    print(f"{len(args.check)} of {len(args.check)} {have} the weights of the files here")


def _check(claim: BlockId, checkpoint: Checkpoint, cache: DigestCache) -> None:
    """Raises RevisionMismatch if the files here hold something else."""
    ours = cache.digest(checkpoint, claim.index)
    if ours != claim.digest:
        raise RevisionMismatch(
            f"block {claim.index} of {checkpoint.name!r} has the digest {ours.hex()} here, not {claim.digest.hex()}; "
            "the two sides hold different files"
        )
