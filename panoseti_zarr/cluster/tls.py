"""Certificates for the connections of one cluster: both sides show one, of its own authority."""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from distributed import Security

from panoseti_zarr.config import TlsConfig
from panoseti_zarr.errors import ConfigError, TransientIOError

_VALID_DAYS = 3650
_NAMES = {"ca": "ca.pem", "cert": "cert.pem", "key": "key.pem"}
_MAX_PEM_BYTES = 100_000


@dataclass(frozen=True)
class Certificates:
    """PEM texts.

    Attributes
    ----------
    ca : str
        Certificate of the authority.
    cert : str
        The certificate that scheduler, workers and clients show.
    key : str
        Its private key.
    """

    ca: str
    cert: str
    key: str = field(repr=False)

    def security(self) -> Security:
        """Return what Dask needs to connect and to listen."""
        roles = ("client", "scheduler", "worker")
        return Security(
            require_encryption=True,
            tls_ca_file=self.ca,
            **{f"tls_{role}_cert": self.cert for role in roles},
            **{f"tls_{role}_key": self.key for role in roles},
        )

    def write(self, directory: Path) -> None:
        """Write them into a new directory, which only its owner can enter."""
        remove_certificates(directory)
        directory.mkdir(mode=0o700)
        for key, name in _NAMES.items():
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(directory / name, flags, 0o600), "w") as file:
                file.write(getattr(self, key))


def make_certificates() -> Certificates:
    """Make an authority, and one certificate of it; the authority's own key is forgotten."""
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name, name = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"panoseti-zarr cluster{what}")])
        for what in (" authority", "")
    )
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    ca = (
        _builder(ca_name, ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    cert = (
        _builder(name, ca_name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(authority, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Certificates(
        ca.public_bytes(pem).decode(), cert.public_bytes(pem).decode(), private.decode()
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        # The hosts' clocks differ.
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=_VALID_DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def configured_certificates(tls: TlsConfig) -> Certificates | None:
    """Read the certificates of ``[cluster.tls]``; None where there are none.

    Raises
    ------
    ConfigError
        A file cannot be read, or others may read the private key.
    """
    if tls.ca_file is None or tls.cert is None or tls.key is None:
        return None
    return Certificates(_read(tls.ca_file), _read(tls.cert), _read(tls.key, is_secret=True))


def certificates_beside(scheduler_file: Path) -> Certificates | None:
    """Read the certificates beside a scheduler file; None if there are none.

    Raises
    ------
    ConfigError
        They cannot be read.
    TransientIOError
        They are not all there yet.
    """
    directory = certificates_directory(scheduler_file)
    if not os.path.lexists(directory):
        return None
    files = ca, cert, key = tuple(directory / _NAMES[key] for key in ("ca", "cert", "key"))
    if not all(file.exists() for file in files):
        raise TransientIOError("the cluster's certificates are being written", path=str(directory))
    return Certificates(_read(ca), _read(cert), _read(key, is_secret=True))


def certificates_directory(scheduler_file: Path) -> Path:
    """Return the directory of a scheduler file's certificates."""
    return scheduler_file.with_name(f"{scheduler_file.name}.tls")


def remove_certificates(directory: Path) -> None:
    """Remove a directory of certificates; one that is not there is fine."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(directory)


def _read(path: Path, *, is_secret: bool = False) -> str:
    try:
        with open(path, "rb") as file:
            if is_secret and os.fstat(file.fileno()).st_mode & 0o077:
                raise ConfigError(
                    "others may read the private key: it must have mode 0600", path=str(path)
                )
            text = file.read(_MAX_PEM_BYTES).decode("ascii")
    except OSError as error:
        raise ConfigError(
            f"cannot read the certificate: {error.strerror}", path=str(path)
        ) from None
    except UnicodeDecodeError:
        raise ConfigError("not a PEM file", path=str(path)) from None
    if "-----BEGIN " not in text:
        raise ConfigError("not a PEM file", path=str(path))
    return text
