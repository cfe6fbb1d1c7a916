"""What `python -m swarm models` says is what a server does."""

import json

import pytest

import swarm
from swarm.cli.models import verb

MEMORY, KV_MEMORY = "300M", "256M"
PRICE = 2_000


@pytest.fixture(scope="module")
def local(book):
    folder, _ = book
    options = {"memory": MEMORY, "kv_memory": KV_MEMORY, "ledger": str(folder), "price": PRICE, "threads": 1}
    with swarm.LocalSwarm("demo", ["auto"], quant="int8", **options) as local:
        local.start("auto", quant="none", dtype="float32")
        yield local


def said(capsys, *arguments: str) -> dict:
    assert verb.main(["demo", *arguments, "--memory", MEMORY, "--kv-memory", KV_MEMORY, "--json"]) == 0
    return json.loads(capsys.readouterr().out)["models"][0]


def test_a_server_takes_as_many_blocks_as_were_told(local, capsys):
    formats = {entry["quant"]: entry["fits"][0] for entry in said(capsys, "--quant", "none", "int8")["formats"][::-1]}
    for server, quant in zip(local.servers, ("int8", "none"), strict=True):
        start, stop = server.blocks
        assert stop - start == formats[quant]["blocks"] < 30


def test_what_blocks_earn_is_by_the_prices_of_the_swarm(local, capsys):
    local.start("0:30", quant="int4", memory="1G")  # all are served
    model = said(capsys, "--quant", "int4", "--peers", *local.peers)
    assert (model["swarm"]["price"], model["swarm"]["paid_peers"]) == (PRICE, 3)
    (fit,) = model["formats"][0]["fits"]
    assert fit["nano_credits_per_hour"] == round(fit["blocks"] * model["swarm"]["tokens_per_s"] * PRICE * 3600) > 0
    assert verb.main(["demo", "--peers", *local.peers]) == 0
    assert "0.000002 credits" in capsys.readouterr().out


def test_a_swarm_that_serves_another_model_or_for_nothing_says_nothing_of_earnings(local, capsys, tmp_path):
    with swarm.LocalSwarm("demo", ["0:3"], threads=1) as free:
        assert said(capsys, "--peers", *free.peers)["swarm"] is None
    assert verb.main(["docs/shapes/Llama-3-8B.json", "--peers", *local.peers]) == 0
    assert "earn" not in capsys.readouterr().out


def test_a_swarm_that_does_not_answer_is_one_line_beside_the_sizes(capsys):
    nobody = "/ip4/127.0.0.1/tcp/9/p2p/16Uiu2HAm2GyVsTcR5M5h8KqkWQFQReyhpePEWW3Fy2nmt6EuqwQG"
    assert verb.main(["demo", "--peers", nobody]) == 3
    output = capsys.readouterr()
    assert "int4" in output.out and output.err.startswith("error: ")
    assert verb.main(["demo", "no/such.gguf", "--peers", nobody]) == 1  # which no later try mends
