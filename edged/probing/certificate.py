"""What is told of a server's certificate, or of its refusal."""

import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edged.reading import iso
from edged.transports.tls import EXPIRED, NO_TLS, NOT_YET_VALID, SELF_SIGNED, UNKNOWN_ISSUER

SOON_DAYS = 21  # most are renewed at 30 days: one that has less left may have been forgotten

# OpenSSL, x509_vfy.h: more of why a certificate is not trusted.
_UNKNOWN_CA = {2, *UNKNOWN_ISSUER}
_OTHER_HOST = {62, 64}


def verified(certificate: Mapping[str, Any], version: str, ca_file: Path | None, now_ms: int) -> str:
    """Of a certificate (as `SSLSocket.getpeercert` gives it) that was verified; `now_ms`: the clock's time."""
    by = f"ca_file {ca_file}" if ca_file else "the system's store"
    ends_s = ssl.cert_time_to_seconds(certificate["notAfter"])
    days = int((ends_s - now_ms / 1000) // 86_400)
    date = datetime.fromtimestamp(ends_s, UTC).date()
    said = f"{version}, verified by {by}; issued by {_name(certificate.get('issuer', ()))}"
    if days >= SOON_DAYS:
        return f"{said}; valid until {date}, {days} days"
    left = f"{days} day{'' if days == 1 else 's'}"
    return f"warning: the certificate is valid until {date} only, {left}: let it be renewed; {said}"


def refused(error: ssl.SSLError, host: str, now_ms: int) -> str:
    """Why a handshake failed, and what to do; `now_ms`: the clock's time."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "not verified: " + _unverified(error, host, f"{iso(now_ms)[:16].replace('T', ' ')} UTC")
    match error.reason or "":  # empty: none of TLS's own
        case reason if reason in NO_TLS:
            return "it does not speak TLS on this port; check the port, and http against https"
        case "UNSUPPORTED_PROTOCOL" | "TLSV1_ALERT_PROTOCOL_VERSION" | "NO_PROTOCOLS_AVAILABLE":
            return "it speaks only versions of TLS that are too old to be safe; its owner has to renew it"
        case "":
            return "it closed the connection in the TLS handshake; check the port"
        case reason:
            return f"the TLS handshake failed: {reason.replace('_', ' ').lower()}"


def _unverified(error: ssl.SSLCertVerificationError, host: str, now: str) -> str:
    match error.verify_code:
        case code if code == NOT_YET_VALID:
            return f"the certificate is not valid yet by this machine's clock ({now}); look at the clock: timedatectl"
        case code if code == EXPIRED:
            return f"the certificate has expired, by this machine's clock ({now}); its owner has to renew it"
        case code if code == SELF_SIGNED:
            return "the certificate is self-signed; save it, once you are sure that it is the right one, as ca_file"
        case code if code in _UNKNOWN_CA:
            return "the certificate is from a CA that is not trusted here, or its chain is not whole; name a ca_file"
        case code if code in _OTHER_HOST:
            return f"the certificate is for another host than {host}; check its name in the config"
        case _:
            return error.verify_message


def _name(issuer: tuple[tuple[tuple[str, str], ...], ...]) -> str:
    """`Let's Encrypt, R11`."""
    parts = dict(pair for relative in issuer for pair in relative)
    named = [parts[key] for key in ("organizationName", "commonName") if key in parts]
    return ", ".join(dict.fromkeys(named)) or "nobody named"
