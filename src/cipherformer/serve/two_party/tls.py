"""Key pairs, and TLS 1.3 connections on which both sides prove that they hold the key that the other has
pinned.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cipherformer.errors import FormatError, KeyMismatchError, ProtocolError

KEY, CERTIFICATE = "key.pem", "certificate.pem"
_YEARS = 10


@dataclass(frozen=True, slots=True)
class Identity:
    """One role's key pair.

    Args:
        folder: with `key.pem` (mode 0600) and `certificate.pem`; only the latter is shown to others.
    """

    folder: Path

    @property
    def certificate(self) -> Path:
        """The file to give to the others."""
        return self.folder / CERTIFICATE

    def fingerprint(self) -> bytes:
        """SHA-256 of the certificate."""
        return fingerprint(self.certificate)


def make_identity(folder: Path, name: str) -> Identity:
    """A new key pair on the curve P-256 and a certificate that it signs itself.

    Raises:
        KeyMismatchError: if the folder has one.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if (folder / KEY).exists():
        raise KeyMismatchError(
            "this folder has a key already", where=str(folder), fix="choose another folder"
        )
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"cipherformer {name}")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365 * _YEARS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    descriptor = os.open(folder / KEY, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secret)
    (folder / CERTIFICATE).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return Identity(folder)


def fingerprint(certificate: Path) -> bytes:
    """SHA-256 of a certificate.

    Raises:
        FormatError: if the file is none.
    """
    try:
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.read_text())).digest()
    except (OSError, ValueError) as error:
        raise FormatError(
            "this is no certificate",
            where=str(certificate),
            why=str(error),
            fix="make one: cipherformer certs",
        ) from error


def wrap(
    sock: socket.socket, own: Identity, peers: Mapping[str, Path], *, server_side: bool, timeout_s: float
) -> tuple[ssl.SSLSocket, str]:
    """The handshake.

    Args:
        sock: connected; it is closed if the handshake fails.
        own: this side's key pair.
        peers: role -> certificate: the only ones that the other side may show.
        server_side: whether this side accepted the connection.
        timeout_s: of the handshake.

    Returns:
        The connection, and the role whose key the other side holds.

    Raises:
        ProtocolError: if the other side has another key, or does not speak TLS 1.3.
    """
    wanted = {fingerprint(path): role for role, path in peers.items()}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # the key itself is pinned
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(own.certificate, own.folder / KEY)
    context.load_verify_locations(cadata="".join(path.read_text() for path in peers.values()))
    if server_side:
        context.num_tickets = 0
    sock.settimeout(timeout_s)
    try:
        secured = context.wrap_socket(sock, server_side=server_side)
        shown = secured.getpeercert(binary_form=True)
    except OSError as error:
        sock.close()
        raise _stranger(peers, str(error)) from error
    role = wanted.get(hashlib.sha256(shown or b"").digest())
    if role is None:
        secured.close()
        raise _stranger(peers, "it shows another certificate")
    return secured, role


def _stranger(peers: Mapping[str, Path], why: str) -> ProtocolError:
    return ProtocolError(
        "the other side is not who it should be",
        why=why,
        fix=f"it must hold the key of the {' or '.join(peers)}",
    )
