"""A PostgreSQL with TLS and its own authority, for the tests: Debian's, since the wheel's has none."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from openwatch import clock
from openwatch.db.embedded import Server

HBA = """
local     all  all                   scram-sha-256
hostssl   all  needs_tls  samehost   scram-sha-256
hostnossl all  hates_tls  samehost   scram-sha-256
hostssl   all  by_cert    samehost   cert
host      all  needs_tls,hates_tls,by_cert all reject
host      all  old_way    samehost   md5
host      all  openwatch  samehost   scram-sha-256
"""
ROLES = """
CREATE ROLE needs_tls LOGIN PASSWORD 'pw'; CREATE ROLE hates_tls LOGIN PASSWORD 'pw';
CREATE ROLE by_cert LOGIN; CREATE ROLE "odd @:/user" LOGIN PASSWORD 'p w';
SET password_encryption = md5; CREATE ROLE old_way LOGIN PASSWORD 'pw';
"""


def programs_with_tls() -> Path | None:
    """The newest PostgreSQL of the system's packages."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return found[-1].parent if found else None


class Authority:
    """Makes certificates and writes them as files."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self._signed(self.subject, self.key, None)
        self.file = folder / f"{name}.crt"
        self.file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def issue(
        self, file: str, common_name: str, san: list[x509.GeneralName]
    ) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        made = self._signed(subject, key, san)
        certificate, private = self.folder / f"{file}.crt", self.folder / f"{file}.key"
        certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        private.touch(mode=0o600)
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return certificate, private

    def _signed(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        san: list[x509.GeneralName] | None,
    ) -> x509.Certificate:
        now = clock.now()
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(
                x509.BasicConstraints(ca=san is None, path_length=None), critical=True
            )
        )
        if san:
            builder = builder.add_extension(x509.SubjectAlternativeName(san), critical=False)
        return builder.sign(self.key, hashes.SHA256())


class TlsServer:
    """The server, its files, and where it listens."""

    def __init__(self, server: Server, folder: Path, authority: Authority) -> None:
        self.server, self.folder, self.authority = server, folder, authority
        self.client_certificate, self.client_key = authority.issue("client", "by_cert", [])
        self.stranger = Authority(folder, "stranger")

    @property
    def port(self) -> int:
        return self.server.port


@contextmanager
def tls_server(programs: Path) -> Iterator[TlsServer]:
    folder = Path(tempfile.mkdtemp(prefix="openwatch-test-tls-"))
    folder.chmod(0o755)
    authority = Authority(folder, "authority")
    san = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate, key = authority.issue("server", "server", san)
    (folder / "hba").write_text(HBA)
    sockets = folder / "sockets"
    sockets.mkdir()
    server = Server(
        folder / "cluster",
        programs,
        settings={
            "fsync": "off",
            "listen_addresses": "127.0.0.1,127.0.0.2",
            "unix_socket_directories": str(sockets),
            "ssl": "on",
            "ssl_cert_file": str(certificate),
            "ssl_key_file": str(key),
            "ssl_ca_file": str(authority.file),
            "hba_file": str(folder / "hba"),
        },
    )
    server._prepare()
    owner = server.data.stat()
    os.chown(key, owner.st_uid, owner.st_gid)
    os.chown(sockets, owner.st_uid, owner.st_gid)
    try:
        server.start()
        for statement in ROLES.strip().split(";")[:-1]:
            if "CREATE ROLE old_way" not in statement and "SET" not in statement:
                server.psql(statement)
        server.psql(ROLES[ROLES.index("SET ") :])
        yield TlsServer(server, folder, authority)
    finally:
        server.stop()
        shutil.rmtree(folder)
