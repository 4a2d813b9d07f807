"""TLS contexts: what they trust, that there is one for all, and what is said of files that will not do."""

import os
import ssl
from pathlib import Path
from typing import Any

import pytest

from edged.transports.tls import context
from tests.transports.certificates import Authority, openssl


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls") / "authority")


@pytest.fixture(scope="module")
def client(authority):
    return authority.client("pi")


def trusted(made: ssl.SSLContext) -> list[str]:
    """The names of the authorities that a context trusts."""
    certificates: list[Any] = made.get_ca_certs()
    return [dict(part[0] for part in found["subject"])["commonName"] for found in certificates]


def test_one_context_for_all_that_trust_the_same(authority, client):
    assert context(None) is context(None)
    assert context(authority.ca_file) is context(authority.ca_file)
    assert context(authority.ca_file) is not context(None)
    shown = context(authority.ca_file, client.certificate, client.key)
    assert shown is context(authority.ca_file, client.certificate, client.key)
    assert shown is not context(authority.ca_file)


@pytest.mark.parametrize("ca_file", [True, False])
def test_every_context_verifies(authority, ca_file):
    made = context(authority.ca_file if ca_file else None)
    assert made.verify_mode is ssl.CERT_REQUIRED
    assert made.check_hostname
    assert made.minimum_version >= ssl.TLSVersion.TLSv1_2


@pytest.mark.case(22)
def test_only_for_a_named_authority_the_strict_flag_is_off(authority):
    assert not context(authority.ca_file).verify_flags & ssl.VERIFY_X509_STRICT
    assert context(None).verify_flags == ssl.create_default_context().verify_flags


@pytest.mark.parametrize("way", ["written anew", "replaced", "a link elsewhere"])
def test_another_authority_in_the_file_is_noticed(tmp_path, authority, way):
    other = Authority(tmp_path / "other")
    file = tmp_path / "ca.pem"
    if way == "a link elsewhere":
        file.symlink_to(authority.ca_file)
    else:
        file.write_bytes(authority.ca_file.read_bytes())
        os.utime(file, (1, 1))
    before = context(file)
    assert trusted(before) == ["authority"]
    if way == "written anew":
        file.write_bytes(other.ca_file.read_bytes())
    else:
        new = tmp_path / "new.pem"
        if way == "replaced":
            new.write_bytes(other.ca_file.read_bytes())
            os.utime(new, (1, 1))
        else:
            new.symlink_to(other.ca_file)
        new.replace(file)
    assert trusted(context(file)) == ["other"]
    assert context(file) is context(file) is not before


def test_another_certificate_of_the_client_is_noticed(tmp_path, authority, client):
    shown = tmp_path / "pi.pem"
    shown.write_bytes(client.certificate.read_bytes())
    os.utime(shown, (1, 1))
    before = context(authority.ca_file, shown, client.key)
    shown.write_bytes(client.certificate.read_bytes())
    assert context(authority.ca_file, shown, client.key) is not before


def test_the_systems_trust_store_may_change(tmp_path, monkeypatch, authority):
    store = tmp_path / "store.pem"
    store.write_bytes(authority.ca_file.read_bytes())
    os.utime(store, (1, 1))
    monkeypatch.setenv("SSL_CERT_FILE", str(store))
    assert "authority" in trusted(context(None))
    store.write_bytes(Authority(tmp_path / "other").ca_file.read_bytes())
    assert "other" in trusted(context(None))


def test_certificate_and_key_in_one_file(tmp_path, authority, client):
    both = tmp_path / "both.pem"
    both.write_bytes(client.certificate.read_bytes() + client.key.read_bytes())
    assert context(authority.ca_file, both)


@pytest.mark.parametrize(
    ("which", "content", "said"),
    [
        ("ca_file", None, "ca_file FILE cannot be read: No such file or directory"),
        ("ca_file", b"", "ca_file FILE holds no certificate"),
        ("ca_file", b"junk\n", "ca_file FILE holds no certificate"),
        ("cert_file", None, "cert_file FILE cannot be read: No such file or directory"),
        ("cert_file", b"junk\n", "cert_file FILE with key_file KEY: "),
        ("key_file", None, "key_file FILE cannot be read: No such file or directory"),
        ("key_file", b"junk\n", "cert_file CERTIFICATE with key_file FILE: "),
    ],
)
def test_a_file_that_will_not_do_is_named_in_a_line(tmp_path, authority, client, which, content, said):
    file = tmp_path / "file.pem"
    if content is not None:
        file.write_bytes(content)
    files = {"ca_file": authority.ca_file, "cert_file": client.certificate, "key_file": client.key} | {which: file}
    for _ in range(2):  # nothing is kept of it
        with pytest.raises(OSError, match="file") as raised:
            context(**files)
        text = str(raised.value)
        for name, path in (("FILE", file), ("CERTIFICATE", client.certificate), ("KEY", client.key)):
            text = text.replace(str(path), name)
        assert text.startswith(said)
        assert len(text.splitlines()) == 1


def test_a_key_of_another_certificate_is_named(authority, client):
    other = authority.client("other")
    with pytest.raises(OSError, match="key values mismatch"):
        context(authority.ca_file, client.certificate, other.key)


def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_its_password(tmp_path, authority, client):
    encrypted = tmp_path / "encrypted.key"
    openssl("pkcs8", "-topk8", "-in", client.key, "-out", encrypted, "-passout", "pass:made-up")
    with pytest.raises(OSError, match="unencrypted key"):
        context(authority.ca_file, client.certificate, encrypted)


def test_a_folder_is_no_file(tmp_path, authority):
    with pytest.raises(OSError, match=r"ca_file .* (cannot be read|holds no certificate)"):
        context(Path(tmp_path))
