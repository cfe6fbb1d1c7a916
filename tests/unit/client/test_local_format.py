"""In which format a client computes its own blocks."""

from dataclasses import replace

import pytest

from memory_hops import chain_of
from swarm.generate.formats import format_of

PEER = chain_of((0, 10))[0].hop.peer


@pytest.mark.parametrize(
    ("formats", "expected"),
    [
        ((("int4", "bfloat16"), ("int4", "bfloat16")), ("int4", "bfloat16")),
        ((("int4", "bfloat16"), ("int8", "bfloat16")), ("none", "bfloat16")),
        ((("int4", "bfloat16"), ("int4", "float32")), ("int4", "float32")),
    ],
)
def test_a_clients_own_blocks_are_as_its_chains_and_exact_where_that_differs(formats, expected):
    assert format_of([replace(PEER, quant=quant, dtype=dtype) for quant, dtype in formats]) == expected
