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
    if ca_file is None:
        return ssl.create_default_context()
    try:
        made = ssl.create_default_context(cafile=str(ca_file))
    except ssl.SSLError:
        raise OSError(f"ca_file {ca_file} holds no certificate") from None
    except OSError as error:
        raise OSError(f"ca_file {ca_file} cannot be read: {error.strerror}") from None
    made.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return made
