"""Throw-away certificates, made by the system's OpenSSL."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

CA = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n"
HOME_MADE_CA = "basicConstraints=CA:TRUE\n"  # not critical, no key usage, no identifier: as people make them
SERVER = "basicConstraints=CA:FALSE\nauthorityKeyIdentifier=keyid\nextendedKeyUsage=serverAuth\n"
CLIENT = "basicConstraints=CA:FALSE\nauthorityKeyIdentifier=keyid\nextendedKeyUsage=clientAuth\n"
HOME_MADE_SERVER = "basicConstraints=CA:FALSE\n"
LOCAL = "DNS:localhost,IP:127.0.0.1"
EXPIRED = ("20200101000000Z", "20200102000000Z")
NOT_YET_VALID = ("20980101000000Z", "20990101000000Z")


@dataclass(frozen=True)
class Certificate:
    """A server's or a client's certificate with its key."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority in a folder of its own."""

    def __init__(self, folder: Path, extensions: str = CA) -> None:
        self.folder = folder
        folder.mkdir()
        self.ca_file = folder / "ca.pem"
        self._key = self._new_key("ca")
        config = self._write("ca.cnf", f"[req]\ndistinguished_name=dn\nx509_extensions=ca\n[dn]\n[ca]\n{extensions}")
        subject = f"/CN={folder.name}"
        openssl(
            *("req", "-x509", "-new", "-key", self._key, "-days", "2", "-subj", subject),
            *("-config", config, "-out", self.ca_file),
        )

    def server(
        self, name: str, host: str = LOCAL, days: int = 2, extensions: str = SERVER, valid: tuple[str, str] = EXPIRED
    ) -> Certificate:
        """A certificate for a server at `host` (subjectAltName); with `days` below 0 `valid` counts instead."""
        key = self._new_key(name)
        request = self.folder / f"{name}.csr"
        made = self.folder / f"{name}.pem"
        openssl("req", "-new", "-key", key, "-subj", f"/CN={name}", "-out", request)
        extfile = self._write(f"{name}.ext", f"{extensions}subjectAltName={host}\n")
        if days > 0:
            openssl(
                *("x509", "-req", "-in", request, "-CA", self.ca_file, "-CAkey", self._key, "-set_serial", "7"),
                *("-days", str(days), "-extfile", extfile, "-out", made),
            )
        else:  # only `openssl ca` takes dates, in the versions of Debian 12 and 13 alike
            (self.folder / "index").touch()
            self._write("serial", "07\n")
            config = self._write(
                "dated.cnf",
                f"[ca]\ndefault_ca=d\n[d]\ndatabase={self.folder}/index\nserial={self.folder}/serial\npolicy=p\n[p]\ncommonName=supplied\n",
            )
            openssl(
                *("ca", "-batch", "-notext", "-config", config, "-in", request, "-cert", self.ca_file),
                *("-keyfile", self._key, "-md", "sha256", "-outdir", self.folder),
                *("-startdate", valid[0], "-enddate", valid[1], "-extfile", extfile, "-out", made),
            )
        return Certificate(made, key)

    def client(self, name: str) -> Certificate:
        """A certificate for a client; its name is the subject's."""
        return self.server(name, host=f"DNS:{name}", extensions=CLIENT)

    def _new_key(self, name: str) -> Path:
        key = self.folder / f"{name}.key"
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
        return key

    def _write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path


def openssl(*arguments: str | Path) -> None:
    try:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=30)
    except FileNotFoundError:
        raise AssertionError("openssl is missing: sh tests/tools.sh installs it") from None
