"""TLS between peers who have no certificate authority in common.

A server makes a self-signed P-256 certificate when it starts. Its signed directory record carries the certificate
itself rather than a fingerprint: gRPC can be told which root to trust but not which fingerprint to expect, and 330
bytes in the record save the extra connection that would fetch it.
"""

import datetime
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from swarm.errors import InvalidRequest

SERVER_NAME = "swarm-peer"  # every peer's certificate has this name: what counts is which certificate it is
MAX_CERTIFICATE_BYTES = 1024


@dataclass(frozen=True)
class Certificate:
    """A server's TLS key and certificate."""

    private_key_pem: bytes
    certificate_pem: bytes
    certificate_der: bytes


def make_certificate(valid_days: int = 365) -> Certificate:
    """A new self-signed P-256 certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, SERVER_NAME)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # clocks differ
        .not_valid_after(now + datetime.timedelta(days=valid_days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(SERVER_NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Certificate(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        certificate.public_bytes(serialization.Encoding.PEM),
        certificate.public_bytes(serialization.Encoding.DER),
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
