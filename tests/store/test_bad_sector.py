"""A disk on which one sector cannot be read any more: reads of it fail in the C library, for SQLite as for Python."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edged.errors import StoreUnusable
from edged.store import disk as disk_module
from tests.store import abandon, open_log
from tests.store.ledger import Ledger, number_of

_LIBRARY = """\
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int is_bad(int fd, off_t from, size_t size) {
    const char *inode = getenv("BAD_INODE"), *sector = getenv("BAD_SECTOR");
    struct stat status;
    if (!inode || fstat(fd, &status) || (long)status.st_ino != atol(inode)) return 0;
    return from < atol(sector) + 512 && from + (off_t)size > atol(sector);
}

#define READ(name)                                                              \\
    ssize_t name(int fd, void *to, size_t size, off_t from) {                   \\
        ssize_t (*real)(int, void *, size_t, off_t) = dlsym(RTLD_NEXT, #name);  \\
        if (is_bad(fd, from, size)) { errno = EIO; return -1; }                 \\
        return real(fd, to, size, from);                                        \\
    }
READ(pread)
READ(pread64)
"""

_PROGRAM = """\
import ctypes, json, pathlib, sys
from edged.errors import StoreUnusable
from tests.store import open_log
from tests.store.ledger import Ledger, account, number_of

folder, sector, when = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]

def fail():
    library = ctypes.CDLL(None)
    library.setenv(b"BAD_SECTOR", sector.encode(), 1)
    library.setenv(b"BAD_INODE", str((folder / "store.db").stat().st_ino).encode(), 1)

ledger = Ledger()
ledger.accepted["web"] = ledger.next = 3000
if when == "before the start":
    fail()
log = open_log(folder)
queue = ledger.open(log)["web"]
if when == "later":
    fail()
taken = []
for _ in range(3):
    log.inspect()
    ledger.put(log, 1)
    log.flush()
    while batch := queue.take(500):
        taken += [number_of(entry.value) for entry in batch]
        for entry in batch:
            queue.settle(entry)
ledger.check(log)
log.stop()
print(json.dumps({"taken": taken, "trouble": log.trouble} | account(queue)))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """To be loaded before the C library."""
    folder = tmp_path_factory.mktemp("library")
    (folder / "bad.c").write_text(_LIBRARY)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", folder / "bad.so", folder / "bad.c", "-ldl"], check=True)
    return folder / "bad.so"


@pytest.mark.guarantee(1)
@pytest.mark.guarantee(10)
@pytest.mark.pain("A18")
@pytest.mark.parametrize("when", ["before the start", "later"])
@pytest.mark.parametrize("part", [0.001, 0.3, 0.6, 0.9])
def test_what_other_sectors_hold_is_delivered_and_the_rest_is_counted(tmp_path, library, when, part):
    log = open_log(tmp_path / "store")
    ledger = Ledger()
    ledger.open(log)
    for _ in range(30):
        ledger.put(log, 100, 300)
        log.flush()
    log.stop()
    sector = int((tmp_path / "store" / "store.db").stat().st_size * part) // 512 * 512
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(tmp_path / "store"), str(sector), when],
        env=os.environ | {"LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    end = json.loads(done.stdout)
    assert end["trouble"] == ""
    assert sorted(end["taken"]) == sorted(set(end["taken"]))
    assert end["delivered"] == len(end["taken"]) >= 2800
    assert end["delivered"] + end["lost"] == 3003
    if part >= 0.3:  # there are readings
        assert "the store was damaged" in done.stderr
        assert "readings are lost to the damaged store" in done.stderr
    again = open_log(tmp_path / "store")  # without the bad sector, which is in the file that was set aside
    assert (again.trouble, again.queues["web"].queued) == ("", 0)
    abandon(again)


@pytest.mark.guarantee(1)
@pytest.mark.pain("A18")
def test_it_keeps_nothing_else_from_being_sent_where_the_store_cannot_be_opened_either(tmp_path, monkeypatch, caplog):
    log = open_log(tmp_path)
    ledger = Ledger()
    ledger.open(log)
    for _ in range(30):
        ledger.put(log, 100, 300)
        log.flush()
    log.stop()
    file, bad = (tmp_path / "store.db").stat(), int((tmp_path / "store.db").stat().st_size * 0.5) // 512 * 512
    pread = os.pread

    def fails_there(fd: int, size: int, offset: int) -> bytes:
        if os.path.samestat(os.fstat(fd), file) and offset < bad + 512 and offset + size > bad:
            raise OSError(5, "Input/output error")
        return pread(fd, size, offset)

    def read_only(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(disk_module, "_AGAIN_S", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", fails_there)
        patch.setattr(disk_module, "open_files", read_only)
        log = open_log(tmp_path)
        queue = ledger.open(log)["web"]
        for _ in range(2):
            with pytest.raises(StoreUnusable):
                log.flush()
        assert 2800 <= len(list(queue.pending())) < 3000
        for entry in queue.take(100):
            queue.settle(entry)
        assert sum("cannot be read whole" in message for message in caplog.messages) == 1
    log.flush()
    ledger.check(log)
    numbers = [number_of(entry.value) for entry in queue.take(5000)]
    assert numbers == sorted(set(numbers))
    assert queue.delivered == 100
    log.stop()
