"""What comes back prints as a line that says what matters, and as JSON."""

import json
import math

import pytest

import swarm
from swarm.cli.support.generations import describe
from swarm.client.batch import Progress
from swarm.client.local_swarm import LocalSwarm
from swarm.client.stream import Stream
from swarm.errors import SwarmError
from swarm.model.checkpoint import open_checkpoint
from swarm.results import Audit, Generation, Hop, HopTiming, Payment, Repair
from swarm.route.peer import PeerInfo
from swarm.verify.audit.judging.judgement import Judgement, Verdict
from swarm.verify.receipts.checking import Fault, FaultKind
from swarm.verify.receipts.store import ReceiptStore
from swarm.wire import messages_pb2 as pb
from swarm.wire.formats.receipts import NOTHING, Receipt, Terms
from swarm.wire.identity import Identity

IDENTITY = Identity()
PEER = IDENTITY.peer_id
LONGEST = 260  # of a repr
WHY = "no other peer serves blocks 0:9"


def signed_receipt():
    terms = Terms(bytes(16), 1, IDENTITY.address, 0, 10, NOTHING, "int4/bfloat16", "x" * 60, 1, NOTHING)
    return Receipt(terms, 0, 5, 15, 0, *[NOTHING] * 6, time_ms=1).sign(IDENTITY)


def judgement(statistic: float = 1.5) -> Judgement:
    return Judgement(Verdict.PASS, "exact", statistic, "all 20 tokens have the same bits")


def long_generation() -> Generation:
    return Generation(
        list(range(1000)), "word " * 1000, list(range(1000)), "length", [Hop(PEER, (0, 10), "127.0.0.1:4000")] * 3,
        receipts=[signed_receipt()] * 40, faults=[Fault(PEER, FaultKind.MISSING, "number 3", (signed_receipt(),))],
        audits=[Audit(PEER, (0, 10), 0, 20, "local", judgement(float("inf"))),
                Audit(PEER, (0, 9), 0, 2, "nobody", None, WHY)],
        payments=[Payment(PEER, (0, 10), 5, 15, 62, 1000, 153_100)], timings=[HopTiming(16, 0.1, 0.25)] * 3,
        repairs=[Repair((PEER,), ((0, 10),), 17, 0.25, False)], step_latencies_s=[0.01] * 999,
    )  # fmt: skip


def peer_info() -> PeerInfo:
    record = pb.PeerRecord(peer_id=PEER, model="demo", start=0, stop=10, num_blocks=30, dtype="float32")
    record.endpoint.host, record.endpoint.port = "127.0.0.1", 4000
    return PeerInfo.of(record, bytes(32))


THINGS = {
    "generation": (long_generation(), ["1,000 tokens", "length", "100.0 tokens/s", "40 receipts",
                                        "2 audits (1 without a result)", "1 fault"]),
    "receipt": (signed_receipt(), ["blocks 0:10", "positions 5:20"]),
    "unsigned": (signed_receipt().receipt, ["blocks 0:10", "positions 5:20"]),
    "terms": (signed_receipt().receipt.terms, ["blocks 0:10", "int4/bfloat16"]),
    "audit": (long_generation().audits[0], ["positions 0:20", "by local", "PASS", "the same bits"]),
    "audit of nobody": (long_generation().audits[1], ["by nobody: no result, no other peer serves blocks 0:9"]),
    "fault": (long_generation().faults[0], ["MISSING", "did not sign for its work", "number 3"]),
    "payment": (long_generation().payments[0], ["0:10", "0.0001531 credits"]),
    "hop": (Hop(PEER, (0, 10), "127.0.0.1:4000"), ["0:10", "127.0.0.1:4000"]),
    "timing": (HopTiming(16, 0.1, 0.25), ["16 steps", "0.250 s"]),
    "repair": (long_generation().repairs[0], ["0:10", "position 17", "0.25 s"]),
    "peer": (peer_info(), ["0:10 of demo", "none/float32", "127.0.0.1:4000"]),
    "stream": (Stream(iter(()), [long_generation()]), ["1,000 tokens"]),
    "several": (Stream(iter(()), [long_generation()] * 2), ["2 generations", "2,000 tokens"]),
    "config": (open_checkpoint("demo").config, ["LlamaForCausalLM", "30 blocks", "hidden size 576", "context 8,192"]),
    "tokenizer": (open_checkpoint("demo").find_tokenizer(), ["49,152 tokens", "with chat template"]),
    "progress": (Progress(9, 0.0, 7, {"a": "b"}, 1234), ["7 of 9 prompts answered", "1 failed", "1,234 tokens"]),
    "swarm": (LocalSwarm("demo", ["0:1"]), ["demo", "not running"]),
}  # fmt: skip


@pytest.mark.parametrize("name", THINGS)
def test_everything_that_comes_back_prints_as_one_short_line(name):
    thing, said = THINGS[name]
    line = repr(thing)
    assert len(line) < LONGEST
    assert "\n" not in line
    assert "\\x" not in line
    assert PEER not in line
    assert all(part in line for part in said), line


@pytest.mark.parametrize("name", ["generation", "receipt", "audit", "fault", "payment", "hop", "repair", "peer"])
def test_a_peer_is_named_by_the_end_of_its_id(name):
    assert PEER[-8:] in repr(THINGS[name][0])


def test_a_receipt_store_says_where_it_is(tmp_path):
    stores = ReceiptStore(None), ReceiptStore(tmp_path / "kept.db")
    assert repr(stores[0]) == "<ReceiptStore in memory>"
    assert repr(stores[1]) == f"<ReceiptStore {tmp_path}/kept.db>"
    for store in stores:
        store.close()


@pytest.mark.parametrize(
    "hop", [(5, (0, 3)), ("x", 5), ("x", ("a", "b")), ("x", (5, 2)), ("x", (0, 1, 2)), ("", (0, 1))]
)
def test_a_hop_is_refused_where_it_is_made(hop):
    with pytest.raises(swarm.InvalidRequest, match=r"^(peer_id|blocks) is "):
        Hop(*hop)


def test_a_name_that_is_too_long_for_a_file_is_no_model():
    with pytest.raises(swarm.ModelError, match=r"no such model: 'xxx.*: File name too long") as error:
        open_checkpoint("x" * 5000)
    assert len(str(error.value)) < LONGEST


def test_an_empty_generation_prints_as_well():
    assert repr(Generation([1])) == "<Generation '', 0 tokens, unfinished>"


def test_a_generation_is_json_with_the_keys_of_the_command_line():
    as_dict = long_generation().to_dict()
    assert json.loads(json.dumps(as_dict, allow_nan=False)) == as_dict
    assert as_dict.keys() >= {
        "text", "token_ids", "finish_reason", "route", "tokens_per_second", "time_to_first_token_s", "reroutes",
        "step_latencies_s", "timings", "receipts", "faults", "audits", "verified", "cost", "payments",
    }  # fmt: skip
    assert as_dict["route"][0] == {"peer_id": PEER, "blocks": [0, 10], "address": "127.0.0.1:4000"}
    assert as_dict["audits"][0]["statistic"] is None  # infinite, which JSON has no word for
    assert json.dumps(Generation([1]).to_dict())


def test_one_token_has_no_speed():
    one = Generation([1], "a", [5], "length", time_to_first_token_s=0.5)
    assert math.isnan(one.tokens_per_second)
    assert one.to_dict()["tokens_per_second"] is None
    assert "tokens/s" not in repr(one) + describe(one)


def test_audits_that_are_missing_or_came_to_nothing_have_a_reason():
    audited, drawn_none = long_generation(), Generation([1], "x", receipts=[signed_receipt()], unaudited="none drawn")
    assert audited.audits[1].to_dict()["reason"] == audited.audits[1].reason == WHY
    assert audited.audits[0].reason == "all 20 tokens have the same bits"
    assert "1 audit passed, 1 audit without a result (no other peer serves blocks 0:9)" in describe(audited)
    assert "no audit: none drawn" in repr(drawn_none)
    assert "1 receipt of 1 peer, no audit (none drawn)" in describe(drawn_none)


def test_a_stream_of_nothing_has_no_generation():
    with pytest.raises(SwarmError, match="a stream of no prompts has no generation"):
        _ = Stream(iter(()), []).generation


def test_an_invalid_request_is_caught_as_a_swarm_error_and_by_no_other_name():
    """A ValueError it is not: those are caught around many a file and message, where a refusal must not be lost."""
    assert issubclass(swarm.InvalidRequest, swarm.SwarmError)
    assert not issubclass(swarm.InvalidRequest, ValueError)


def test_a_verdict_prints_as_its_name():
    assert (str(Verdict.PASS), f"{Verdict.FAIL}", f"{Verdict.SUSPECT:>8}") == ("PASS", "FAIL", " SUSPECT")
    assert Verdict.FAIL > Verdict.SUSPECT > Verdict.PASS == 0
