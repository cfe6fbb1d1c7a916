"""Points on a real swarm."""

import swarm
from helpers import wait_until
from ledgers import revealed
from swarm.home import client_identity
from swarm.market.ledger.ledger import Ledger
from swarm.market.ledger.opening import open_ledger
from swarm.market.pricing.contribution import Contribution
from swarm.market.rewards.claims import claimed
from swarm.market.rewards.closing import Closer, Plan
from swarm.market.rewards.epochs import Epochs
from swarm.wire.identity import address_of

# --- from end to end -------------------------------------------------------------------------------------------------


def test_on_a_real_swarm_free_work_earns_points_and_points_go_first(tmp_path, monkeypatch):
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    where, plan = str(tmp_path / "book"), Plan(Contribution(), emission=10**6)
    issuer = open_ledger(where, client_identity())
    options = {"quant": "int4", "threads": 1, "ledger": where, "pricing": "contribution", "epoch": 1}
    with swarm.LocalSwarm("demo", ["0:10", "10:30"], **options) as local:
        small, large = (address_of(server.peer_id) for server in local.servers)
        with swarm.Client("demo", local.peers, ledger=where, audit="off") as client:
            out = client.generate("The capital of France is", max_new_tokens=20, ignore_eos=True)
            assert out.payments == []
            assert wait_until(lambda: commits(issuer) == {small, large}, 30)
            assert Closer(issuer, plan).step().epoch == 0
            assert wait_until(lambda: set(revealed(issuer, 0)) == {small, large}, 30)
            span, _ = Epochs(issuer).read()
            tokens = len(out.prompt_token_ids) + 19
            assert {(one.server, one.block_tokens) for one in claimed(issuer, [span], span, plan.reveal_s)} == {
                (small, 10 * tokens), (large, 20 * tokens),
            }  # fmt: skip
            issuer.mint(issuer.address, 10**9)
            out = client.generate("The capital of France is", max_new_tokens=5, ignore_eos=True, bid=2)
            assert out.cost == 2 * 30 * (len(out.prompt_token_ids) + 4)  # points
    issuer.shut()


def commits(ledger: Ledger) -> set[bytes]:
    return {entry.by for entry in ledger.history() if entry.kind == "commit"}
