"""TLS between peers.

A server makes a self-signed P-256 certificate when it starts. Its signed directory record carries the certificate
itself rather than a fingerprint: gRPC can be told which root to trust but not which fingerprint to expect, and 330
bytes in the record save the extra connection that would fetch it.

In a private swarm the certificate is signed by an authority whose key follows from the swarm's secret, so that every
member issues one to itself. Servers ask for such a certificate before they hear a word; clients still accept no other
than the one in the record.
"""

import datetime
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from swarm.errors import InvalidRequest
from swarm.wire.secret import Secret

SERVER_NAME = "swarm-peer"  # every peer's certificate has this name: what counts is which certificate it is
MAX_CERTIFICATE_BYTES = 1024
VALID_DAYS = 3_650  # longer than a process runs
# Whom a certificate belongs to, its record says, and for how long: the clocks of both machines are not to matter here.
_ALWAYS_VALID_FROM = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_AUTHORITY_NAME = "swarm-secret"
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


@dataclass(frozen=True)
class Certificate:
    """A peer's TLS key and certificate, and in a private swarm the authority by which members know one another."""

    private_key_pem: bytes
    certificate_pem: bytes
    certificate_der: bytes
    authority_pem: bytes | None = None


def make_certificate(secret: Secret | None = None, valid_days: int = VALID_DAYS) -> Certificate:
    """A new P-256 certificate: self-signed, or a member's of the private swarm that has this secret."""
    key = ec.generate_private_key(ec.SECP256R1())
    authority_key = _authority_key(secret) if secret else key
    builder = _builder(SERVER_NAME, _AUTHORITY_NAME if secret else SERVER_NAME, key, valid_days).add_extension(
        x509.SubjectAlternativeName([x509.DNSName(SERVER_NAME)]), critical=False
    )
    certificate = builder.sign(authority_key, hashes.SHA256())
    return Certificate(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        certificate.public_bytes(serialization.Encoding.PEM),
        certificate.public_bytes(serialization.Encoding.DER),
        _authority_pem(authority_key, valid_days) if secret else None,
    )


def _authority_key(secret: Secret) -> ec.EllipticCurvePrivateKey:
    """The same for all members. The scalar is drawn from 128 more bits than it has, as FIPS 186-5, A.2.1 wants it."""
    number = int.from_bytes(secret.key(b"certificate-authority/v1", 48), "big")
    return ec.derive_private_key(number % (_P256_ORDER - 1) + 1, ec.SECP256R1())


def _authority_pem(key: ec.EllipticCurvePrivateKey, valid_days: int) -> bytes:
    """Its own certificate, which never leaves the process and so need not be the same as other members'."""
    builder = _builder(_AUTHORITY_NAME, _AUTHORITY_NAME, key, valid_days)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _builder(subject: str, issuer: str, key: ec.EllipticCurvePrivateKey, valid_days: int) -> x509.CertificateBuilder:
    valid_until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=valid_days)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_ALWAYS_VALID_FROM)
        .not_valid_after(valid_until)
    )


def pem_from_der(der: bytes) -> bytes:
    """The PEM that gRPC wants, of a DER certificate from a directory record. Raises InvalidRequest on junk."""
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise InvalidRequest(f"a certificate of {len(der)} bytes is too large; at most {MAX_CERTIFICATE_BYTES}")
    try:
        certificate = x509.load_der_x509_certificate(der)
    except ValueError as error:
        raise InvalidRequest(f"malformed certificate: {error}") from error
    return certificate.public_bytes(serialization.Encoding.PEM)
