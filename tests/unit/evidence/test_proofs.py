"""What convicts by signatures alone or by files alone, and that nothing else does."""

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import replace

import msgpack
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import InvalidRequest
from swarm.model.digest_cache import DigestCache
from swarm.model.identity import block_digest, weights_root
from swarm.verify.audit.case import Case
from swarm.verify.audit.expert import Expert
from swarm.verify.audit.judging.judgement import Verdict
from swarm.verify.audit.reexecution import Reexecutor
from swarm.verify.fraud.evidence import Bundle
from swarm.verify.fraud.examination import examine
from swarm.verify.fraud.proofs import AUDIT, CONTRADICTION, EQUIVOCATION, PANEL, Proof, outvoted
from swarm.verify.receipts.writing import ReceiptWriter
from swarm.wire import messages_pb2 as pb
from swarm.wire.codec import Rows, to_rows
from swarm.wire.formats.receipts import NOTHING, SignedReceipt, Terms
from swarm.wire.identity import Identity

IDENTITIES = [Identity() for _ in range(PANEL + 3)]
WIDTH = 4


def make_terms(identity: Identity, start: int = 0, session: int = 0, **changes: object) -> Terms:
    terms = Terms(
        bytes([session]) * 16, 1, identity.address, start, start + 1, NOTHING, "none/float32", "cpu-1", pb.FLOAT32,
        NOTHING,
    )  # fmt: skip
    return replace(terms, **changes)


def write(
    identity: Identity, x: torch.Tensor, y: torch.Tensor, chunks: Sequence[int] = (), **terms: object
) -> list[SignedReceipt]:
    """An honest writer's receipts for x -> y, [tokens, n] float32, signed in chunks of these sizes."""
    signed: list[SignedReceipt] = []
    writer = ReceiptWriter(identity, make_terms(identity, **terms), signed.append)
    position = 0
    for count in chunks or [len(x)]:
        part = slice(position, position + count)
        writer.record(position, to_rows(x[part], torch.float32), to_rows(y[part], torch.float32))
        writer.seal()
        position += count
    return signed


def work(seed: int = 0, tokens: int = 4) -> torch.Tensor:
    return torch.randn(tokens, WIDTH, generator=torch.Generator().manual_seed(seed))


# --- equivocation and contradiction ----------------------------------------------------------------------------------


def equivocation() -> list[SignedReceipt]:
    x = work()
    return [write(IDENTITIES[0], x, y)[0] for y in (x + 1, x + 2)]


def contradiction() -> list[SignedReceipt]:
    x = work()
    (source,) = write(IDENTITIES[0], x, x + 1)
    (sink,) = write(IDENTITIES[1], x + 2, x + 3, start=1)
    return [source, replace(sink.receipt, upstream=source.receipt.hash).sign(IDENTITIES[1])]


@pytest.mark.parametrize(
    ("kind", "receipts", "accused"),
    [(EQUIVOCATION, equivocation(), IDENTITIES[0]), (CONTRADICTION, contradiction(), IDENTITIES[1])],
)
def test_two_signatures_that_exclude_each_other_are_a_proof_that_needs_no_witness(kind, receipts, accused):
    proof = Proof.decode(Proof.of(kind, receipts).encode())
    assert (proof.kind, proof.accused, proof.witnesses) == (kind, accused.peer_id, ())
    with pytest.raises(InvalidRequest):
        Proof.of(CONTRADICTION if kind == EQUIVOCATION else EQUIVOCATION, receipts)


@given(chunks=st.lists(st.integers(1, 4), min_size=1, max_size=4), sessions=st.integers(1, 3))
def test_no_two_receipts_of_honest_peers_prove_anything(chunks, sessions):
    """Whatever is laid beside what: sessions, hops, chunks."""
    x = work(tokens=sum(chunks))
    receipts = []
    for session in range(sessions):
        y = x
        for start, identity in enumerate(IDENTITIES[:2]):
            receipts += write(identity, y, y + 1, chunks, start=start, session=session)
            y = y + 1
    for pair, kind in itertools.product(itertools.permutations(receipts, 2), (EQUIVOCATION, CONTRADICTION)):
        with pytest.raises(InvalidRequest):
            Proof.of(kind, pair)
    assert outvoted(receipts) == []


# --- panels ----------------------------------------------------------------------------------------------------------


def panel(*answers: float, **terms: object) -> list[SignedReceipt]:
    """Receipts of as many peers for the same work, each with the inputs plus its number."""
    x = work()
    return [
        write(identity, x, x + answer, session=index, **terms)[0]
        for index, (identity, answer) in enumerate(zip(IDENTITIES, answers, strict=False))
    ]


@given(answers=st.lists(st.integers(1, 3), min_size=1, max_size=len(IDENTITIES)))
def test_a_panel_convicts_exactly_those_outside_a_majority(answers):
    counts = sorted((answers.count(value) for value in set(answers)), reverse=True)
    decided = len(counts) > 1 and counts[0] >= 2 and counts[0] > counts[1]
    majority = max(set(answers), key=answers.count)
    wrong = {IDENTITIES[index].peer_id for index, value in enumerate(answers) if value != majority}
    found = outvoted(panel(*answers))
    assert {proof.accused for proof in found} == (wrong if decided else set())
    for proof in found:
        assert Proof.decode(proof.encode()) == proof


@pytest.mark.parametrize(
    "changes",
    [{"numerics_id": "gpu"}, {"numerics_id": ""}, {"format": "int4/float32"}, {"weights": bytes([1]) * 32},
     {"wire_dtype": pb.BFLOAT16}, {"stop": 7}],
)  # fmt: skip
def test_other_work_outvotes_nobody(changes):
    accused, *others = panel(1, 2, 2)
    moved = [
        replace(one.receipt, terms=replace(one.receipt.terms, **changes)).sign(identity)
        for one, identity in zip(others, IDENTITIES[1:], strict=False)
    ]
    with pytest.raises(InvalidRequest):
        Proof.of(AUDIT, [accused, *moved])
    if changes.get("numerics_id") == "":  # no bits are promised, also where all agree on that
        with pytest.raises(InvalidRequest):
            Proof.of(AUDIT, panel(1, 2, 2, numerics_id=""))


def test_another_history_outvotes_nobody():
    """Equal rows at equal positions, after other ones: attention sees the difference."""
    x, other = work(1, tokens=4), work(2, tokens=4)
    other[2:] = x[2:]
    accused = write(IDENTITIES[0], x, x + 1, [2, 2])[1]
    others = [write(one, other, other + 2, [2, 2])[1] for one in IDENTITIES[1:3]]
    assert accused.receipt.inputs == others[0].receipt.inputs
    with pytest.raises(InvalidRequest):
        Proof.of(AUDIT, [accused, *others])


def test_one_peer_has_one_vote():
    accused, witness, _ = panel(1, 2, 2)
    with pytest.raises(InvalidRequest):
        Proof.of(AUDIT, [accused, witness, witness])


@given(data=st.data())
def test_a_proof_has_one_encoding(data):
    encoded = Proof.of(AUDIT, panel(1, 2, 2)).encode()
    at, bit = data.draw(st.integers(0, len(encoded) - 1)), data.draw(st.integers(0, 7))
    changed = bytearray(encoded)
    changed[at] ^= 1 << bit
    with pytest.raises(InvalidRequest):
        Proof.decode(bytes(changed))
    with pytest.raises(InvalidRequest):
        Proof.decode(encoded + b"\0")
    version, *rest = msgpack.unpackb(encoded)
    with pytest.raises(InvalidRequest):
        Proof.decode(msgpack.packb([bool(version), *rest]))


# --- evidence files --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recompute(demo_checkpoint) -> Reexecutor:
    return Reexecutor(demo_checkpoint, 0, 1, "none", torch.float32)


@pytest.fixture(scope="module")
def honest(demo_checkpoint, recompute) -> tuple[Rows, Rows]:
    """Inputs and outputs of block 0."""
    x = torch.randn(12, demo_checkpoint.config.hidden_size, generator=torch.Generator().manual_seed(1))
    return to_rows(x, torch.float32), to_rows(recompute.exact(x), torch.float32)


@pytest.fixture(scope="module")
def examined(demo_checkpoint, tmp_path_factory) -> Callable[[Bundle], Verdict]:
    """By whoever has the model's files."""
    folder = tmp_path_factory.mktemp("examined")
    expert, digests = Expert(demo_checkpoint, folder / "thresholds"), DigestCache(folder / "digests")
    return lambda bundle: examine(bundle, expert, digests).judgement.verdict


def evidence(demo_checkpoint, x: Rows, y: Rows, chunks: Sequence[int], first: int, numerics_id: str) -> Bundle:
    weights = weights_root([block_digest(demo_checkpoint, 0)])
    receipts = write(IDENTITIES[0], x.tensor(), y.tensor(), chunks, numerics_id=numerics_id, weights=weights)
    return Bundle(Case(tuple(receipts), first, x, y[first:]), demo_checkpoint.name, demo_checkpoint.revision)


@pytest.mark.parametrize("same_numerics", [True, False])
@pytest.mark.parametrize(("chunks", "first"), [([12], 0), ([4, 8], 4), ([1, 2, 9], 1)])
def test_evidence_convicts_a_cheat_and_no_honest_peer_wherever_it_is_read(
    demo_checkpoint, recompute, honest, examined, same_numerics, chunks, first
):
    x, y = honest
    numerics = recompute.numerics_id if same_numerics else ""
    for outputs, verdict in ((y, Verdict.PASS), (x, Verdict.FAIL)):
        made = evidence(demo_checkpoint, x, outputs, chunks, first, numerics)
        read = Bundle.decode(made.encode(IDENTITIES[1]))
        assert (read.digest, read.accuser) == (made.digest, IDENTITIES[1].peer_id)
        assert examined(read) == verdict


def test_evidence_holds_nothing_that_the_accused_did_not_sign(demo_checkpoint, honest):
    x, y = honest
    (receipt,) = write(IDENTITIES[0], x.tensor(), y.tensor())
    for inputs, outputs in ((y, y), (x, x), (x[1:], y)):
        with pytest.raises(InvalidRequest):
            Case((receipt,), 0, inputs, outputs)
    with pytest.raises(InvalidRequest):
        Case((receipt, receipt), 0, x, y)


@given(data=st.data())
def test_no_byte_of_evidence_can_be_changed(data, demo_checkpoint, honest):
    made = evidence(demo_checkpoint, *honest, [4, 8], 4, "cpu-1")
    encoded = bytearray(made.encode(IDENTITIES[1]))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(InvalidRequest):
        Bundle.decode(bytes(encoded))


def test_evidence_about_rows_of_another_model_is_refused_before_it_is_computed(demo_checkpoint, examined):
    x = work()
    bundle = evidence(demo_checkpoint, to_rows(x, torch.float32), to_rows(x, torch.float32), [4], 0, "")
    with pytest.raises(InvalidRequest, match="4 numbers a token"):
        examined(Bundle.decode(bundle.encode(IDENTITIES[0])))


def test_evidence_that_claims_more_rows_than_it_has_is_refused_before_they_are_hashed():
    """A million receipts cost their signer nothing, rows of one number are cheap, and every row is hashed."""
    (signed,) = write(IDENTITIES[0], work(), work())
    vast = replace(signed.receipt, count=2**31).sign(IDENTITIES[0])
    payload = msgpack.packb(["demo", "r", [vast.encode()], 0, 1, random.randbytes(2**20), b""])
    data = msgpack.packb([1, payload, IDENTITIES[1].peer_id, IDENTITIES[1].sign(b"swarm/evidence/v1", payload)])
    with pytest.raises(InvalidRequest, match="bytes for 2147483648 positions"):
        Bundle.decode(data)


@pytest.mark.parametrize(("quant", "dtype"), [("int3", torch.bfloat16), ("none", torch.float16), ("", torch.float32)])
def test_a_made_up_format_cannot_be_audited(demo_checkpoint, quant, dtype):
    with pytest.raises(InvalidRequest, match="is no format that peers serve"):
        Reexecutor(demo_checkpoint, 0, 1, quant, dtype)
