"""Identity, tensors as bytes, and their digests."""

import os
import stat
from datetime import UTC, datetime, timedelta

import pytest
import torch
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from swarm.errors import InvalidRequest, SwarmError
from swarm.wire import codec
from swarm.wire import messages_pb2 as pb
from swarm.wire.identity import Identity, signer_of
from swarm.wire.secret import Secret
from swarm.wire.tls import make_certificate, pem_from_der


def test_a_signature_names_its_signer():
    identity = Identity()
    signature = identity.sign(b"purpose", b"message")
    assert signer_of(b"purpose", b"message", signature) == identity.peer_id


@pytest.mark.parametrize(("domain", "message"), [(b"other", b"message"), (b"purpose", b"massage")])
def test_a_signature_proves_nothing_elsewhere(domain, message):
    identity = Identity()
    signature = identity.sign(b"purpose", b"message")
    assert signer_of(domain, message, signature) != identity.peer_id


@pytest.mark.parametrize("junk", [b"", b"short", bytes(65), b"\xff" * 65, bytes(66)])
def test_a_malformed_signature_is_refused(junk):
    with pytest.raises(InvalidRequest):
        signer_of(b"purpose", b"message", junk)


def test_an_identity_file_is_private_and_gives_the_same_peer_again(tmp_path):
    path = tmp_path / "keys" / "a.key"
    first = Identity.load_or_create(path)
    assert Identity.load_or_create(path).peer_id == first.peer_id
    assert list(path.parent.iterdir()) == [path]  # no other copy of a secret is left
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert first.peer_id.startswith("16Uiu2")


def test_a_file_that_is_no_identity_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "a.key"
    path.write_bytes(b"precious")
    with pytest.raises(SwarmError, match="not a secp256k1 identity"):
        Identity.load_or_create(path)
    assert path.read_bytes() == b"precious"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@given(rows=st.integers(1, 5), columns=st.integers(1, 70))
def test_tensors_survive_the_wire_bit_by_bit(dtype, rows, columns):
    tensor = torch.randn(rows, columns).to(dtype)
    message = pb.Tensor.FromString(codec.encode(tensor, dtype).SerializeToString())
    assert torch.equal(codec.decode(message, (rows, columns), dtype), tensor)


def test_a_strided_tensor_is_sent_row_by_row():
    tensor = torch.arange(12.0).view(3, 4).T
    assert torch.equal(codec.decode(codec.encode(tensor, torch.float32), (4, 3), torch.float32), tensor)


def corrupt(**changes: object) -> pb.Tensor:
    message = codec.encode(torch.ones(2, 8), torch.float32)
    for name, value in changes.items():
        if name == "shape":
            del message.shape[:]
            message.shape.extend(value)
        else:
            setattr(message, name, value)
    return message


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (corrupt(shape=[8, 2]), "shape"),
        (corrupt(shape=[2, 8, 1]), "shape"),
        (corrupt(shape=[]), "shape"),
        (corrupt(shape=[4_000_000_000, 4_000_000_000]), "shape"),
        (corrupt(dtype=pb.BFLOAT16), "dtype"),
        (corrupt(dtype=99), "dtype"),
        (corrupt(data=bytes(60)), "length"),
        (corrupt(data=bytes(64)), "digest"),
        (corrupt(digest=bytes(32)), "digest"),
        (corrupt(digest=b""), "digest"),
    ],
)
def test_a_tensor_that_is_not_what_it_claims_is_refused(message, complaint):
    with pytest.raises(InvalidRequest, match=complaint):
        codec.decode(message, (2, 8), torch.float32)


def test_the_digest_covers_shape_and_dtype():
    data = bytes(64)
    digests = [
        codec.tensor_digest(codec.row_digests(dtype, columns, data))
        for dtype, columns in [(pb.FLOAT32, 8), (pb.FLOAT32, 2), (pb.BFLOAT16, 8), (pb.FLOAT16, 8)]
    ]
    assert len(set(digests)) == len(digests)


@given(st.integers(1, 12), st.integers(0, 12), st.integers(0, 12))
def test_a_row_has_the_same_digest_however_rows_are_cut_into_messages(count, first, second):
    cut, other = sorted((min(first, count), min(second, count)))
    whole = codec.to_rows(torch.randn(count, 5), torch.float32)
    parts = [whole[:cut], whole[cut:other], whole[other:]]
    assert codec.Rows.join(parts) == whole
    assert [digest for part in parts for digest in codec.Rows.of(pb.FLOAT32, 5, part.data).digests] == whole.digests


def test_a_certificate_is_good_by_whatever_clock_and_longer_than_a_process_runs():
    for certificate in (make_certificate(), make_certificate(Secret(Secret.generate()))):
        read = x509.load_der_x509_certificate(certificate.certificate_der)
        assert read.not_valid_before_utc.year <= 2000
        assert read.not_valid_after_utc > datetime.now(UTC) + timedelta(days=3_000)


def test_certificates_are_small_and_junk_is_refused():
    certificate = make_certificate()
    assert pem_from_der(certificate.certificate_der) == certificate.certificate_pem
    for junk in (b"", b"junk", bytes(5000)):
        with pytest.raises(InvalidRequest):
            pem_from_der(junk)
