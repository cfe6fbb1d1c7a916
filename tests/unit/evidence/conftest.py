"""Work of which an examiner makes something."""

import pytest
import torch

from evidence_cases import BLOCKS, CHEAT, TOKENS, sign
from swarm.cli import evidence as cli
from swarm.model.ends import ModelEnds
from swarm.model.identity import block_digest, weights_root
from swarm.verify.audit.calibrating.calibration import text_segments
from swarm.verify.audit.calibrating.variants import Announced, cheaper, per_channel
from swarm.verify.fraud.evidence import Bundle


@pytest.fixture(scope="module")
def weights(demo_checkpoint) -> bytes:
    return weights_root(block_digest(demo_checkpoint, block) for block in range(*BLOCKS))


@pytest.fixture
def examine(capsys):
    def run(*arguments: object) -> tuple[int, str, str]:
        status = cli.main(["examine", *map(str, arguments), "--threads", "1"])
        return status, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def suspicious(demo_checkpoint, inputs, weights) -> list[Bundle]:
    """Two blocks with cheaper weights are a little off, and alike on every processor."""
    run = cheaper(Announced(demo_checkpoint, *BLOCKS, "none", torch.bfloat16), per_channel)
    return [sign(CHEAT, x, run(x), weights) for x in inputs]


@pytest.fixture(scope="module")
def inputs(demo_checkpoint) -> list[torch.Tensor]:
    """Of four sessions, [TOKENS, hidden_size]."""
    ends = ModelEnds.load(demo_checkpoint, torch.float32, "float32")
    return [ends.embed(text[:TOKENS]).bfloat16() for text in text_segments(demo_checkpoint, 4)]
