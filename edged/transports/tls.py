"""One TLS context for all connections that trust the same."""

import ssl
from functools import lru_cache
from pathlib import Path


@lru_cache(maxsize=8)
def context(ca_file: Path | None) -> ssl.SSLContext:
    """TLS as the system trusts it (OpenSSL's own variables included), or as a named CA file does.

    A private CA may lack what RFC 5280 demands; the user named it, so Python 3.13's strict flag is taken off for it
    (and for it only), and every Python does the same.  Signatures and the host's name are always checked.  Raises
    OSError where the file cannot be read or holds no certificate.
    """
    made = ssl.create_default_context(cafile=ca_file and str(ca_file))
    if ca_file:
        made.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return made
