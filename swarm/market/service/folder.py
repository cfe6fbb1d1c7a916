"""The folder that a ledger's service keeps: ledger.db, its keeper's key, and its TLS certificate."""

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from swarm.errors import SwarmError
from swarm.market.ledger.audit import audit
from swarm.market.ledger.backups import copy_ledger
from swarm.market.ledger.opening import FILE_NAME
from swarm.storage.files import write_whole
from swarm.wire.tls import Certificate, make_certificate

_VALID_DAYS = 3_650  # users know the ledger by it
_CERTIFICATE = "tls.pem"


def load_certificate(folder: Path) -> Certificate:
    """The one in the folder, made when first needed. Raises SwarmError if its file is damaged."""
    file = folder / _CERTIFICATE
    if not file.exists():
        write_whole(file, _pem(make_certificate(valid_days=_VALID_DAYS)))
    data = file.read_bytes()
    try:
        key, certificate = serialization.load_pem_private_key(data, None), x509.load_pem_x509_certificate(data)
    except ValueError as error:
        raise SwarmError(f"{file} is not a key and a certificate: {error}; move it away, and tell users the new "
                         "address") from error  # fmt: skip
    encoding = serialization.Encoding
    private = key.private_bytes(encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Certificate(private, certificate.public_bytes(encoding.PEM), certificate.public_bytes(encoding.DER))


def restore(backup: Path, folder: Path) -> None:
    """Make the ledger of `folder` from a backup. Raises SwarmError if there is one already, or the backup does not
    hold."""
    file = folder / FILE_NAME
    if file.exists():
        raise SwarmError(f"there is a ledger in {file}; move it away before restoring another")
    report = audit(backup)
    if not report.holds:
        raise SwarmError(f"the backup in {backup} does not hold: {report.problems[0]}")
    copy_ledger(backup, file)


def _pem(certificate: Certificate) -> bytes:
    return certificate.private_key_pem + certificate.certificate_pem
