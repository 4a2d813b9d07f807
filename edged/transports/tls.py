"""One TLS context for all connections that trust the same and show the same certificate."""

import ssl
import threading
from pathlib import Path


class FileUnusable(OSError):
    """A file that the config names is not there, or is not what it should be."""


_Files = tuple[Path | None, Path | None, Path | None]  # ca_file, cert_file, key_file
_Stamp = tuple[tuple[int, int, int], ...]  # of each file: device, inode, time of its last change

# OpenSSL, x509_vfy.h: why a certificate is not trusted.
NOT_YET_VALID, EXPIRED, SELF_SIGNED = 9, 10, 18
UNKNOWN_ISSUER = (19, 20, 21)
NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG")

_lock = threading.Lock()
_made: dict[_Files, tuple[_Stamp, ssl.SSLContext]] = {}


def context(ca_file: Path | None, cert_file: Path | None = None, key_file: Path | None = None) -> ssl.SSLContext:
    """TLS as the system trusts it (OpenSSL's own variables included), or as a named CA file does.

    `cert_file` is the client's own certificate, `key_file` its key where that is a file of its own.  A context is made
    once (28 ms of CPU), and anew when one of its files has changed.

    A private CA may lack what RFC 5280 demands, or be no root; the user named it, so for it (and for it only) Python
    3.13's strict flag is taken off and its partial chains are allowed, and every Python does the same.  Signatures and
    the host's name are always checked.  Raises FileUnusable, in one line with the file's name, where a file cannot be
    read or holds something else.
    """
    files = (ca_file, cert_file, key_file)
    with _lock:
        stamp = _stamp(files)
        before = _made.get(files)
        if before is None or before[0] != stamp:
            before = _made[files] = (stamp, _make(*files))
        return before[1]


def _stamp(files: _Files) -> _Stamp:
    """Tells one state of the files from another; of the system's trust store those that OpenSSL looks for."""
    stamp = []
    for key, file in zip(("ca_file", "cert_file", "key_file"), files, strict=True):
        if file is not None:
            try:
                stamp.append(_state(file))
            except OSError as error:
                raise FileUnusable(f"{key} {file} cannot be read: {error.strerror}") from None
    if files[0] is None:
        system = ssl.get_default_verify_paths()
        stamp += [_state(Path(place)) for place in (system.cafile, system.capath) if place]
    return tuple(stamp)


def _state(file: Path) -> tuple[int, int, int]:
    found = file.stat()
    return found.st_dev, found.st_ino, found.st_mtime_ns


def _make(ca_file: Path | None, cert_file: Path | None, key_file: Path | None) -> ssl.SSLContext:
    made = _trusting(ca_file)
    made.minimum_version = ssl.TLSVersion.TLSv1_2  # Debian's Python leaves it to OpenSSL's configuration
    if cert_file is not None:
        named = f"cert_file {cert_file}" + (f" with key_file {key_file}" if key_file else "")
        try:
            # A password is never asked for: OpenSSL would do so on the terminal, and wait.
            made.load_cert_chain(cert_file, key_file, password="")
        except ssl.SSLError as error:
            raise FileUnusable(
                f"{named}: {_reason(error)}; a certificate and its unencrypted key are expected"
            ) from None
        except OSError as error:
            raise FileUnusable(f"{named} cannot be read: {error.strerror}") from None
    return made


def _trusting(ca_file: Path | None) -> ssl.SSLContext:
    if ca_file is None:
        return ssl.create_default_context()
    try:
        made = ssl.create_default_context(cafile=str(ca_file))
    except ssl.SSLError:
        raise FileUnusable(f"ca_file {ca_file} holds no certificate") from None
    except OSError as error:
        raise FileUnusable(f"ca_file {ca_file} cannot be read: {error.strerror}") from None
    made.verify_flags &= ~ssl.VERIFY_X509_STRICT
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return made


def _reason(error: ssl.SSLError) -> str:
    """What OpenSSL says, in words: `key values mismatch`."""
    return (error.reason or "it cannot be used").replace("_", " ").lower()


def hint(error: BaseException) -> str:
    """What to do about a handshake that failed, where that can be told; else nothing."""
    if isinstance(error, ssl.SSLCertVerificationError) and error.verify_code in (SELF_SIGNED, *UNKNOWN_ISSUER):
        return "; if it is the right one, name its CA in ca_file"
    if isinstance(error, ssl.SSLError) and error.reason in NO_TLS:
        return ": it does not speak TLS on this port; check the port, and plain against TLS"
    return ""
