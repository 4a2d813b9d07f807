"""The write-ahead log read without SQLite: as SQLite recovers it, and better where a part of it is damaged."""

import shutil
import struct
import subprocess
import sys
from collections import Counter
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.store.pages import rows
from edged.store.tables import FILE, connect
from edged.store.wal import read_wal
from tests.store.raw import FRAME, PAGE, WAL, copied, noise, overwrite, selected, typed, unhurried

HEADER = 32


@pytest.fixture(scope="module")
def busy(tmp_path_factory):
    """The files of a store in use: all since a checkpoint is in the log only, before older frames that are stale."""
    folder = tmp_path_factory.mktemp("busy")
    connection = connect(folder)
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("CREATE TABLE log (id INTEGER PRIMARY KEY, data BLOB, timestamp FLOAT)")
    connection.execute("CREATE TABLE state (key TEXT PRIMARY KEY, data BLOB)")
    with connection.group():
        connection.executemany("INSERT INTO log VALUES (?, ?, ?)", ((n, noise(n, 50 * n), n + 0.5) for n in range(80)))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for n in range(80, 110):
        with connection.group():
            connection.execute("INSERT INTO log VALUES (?, ?, ?)", (n, noise(n, 37 * n), n + 0.5))
            connection.execute("DELETE FROM log WHERE id < ?", (2 * n - 160,))
            connection.execute("REPLACE INTO state VALUES (?, ?)", (f"destination:{n % 3}", noise(n, 9)))
        if n == 98:
            connection.execute("PRAGMA wal_checkpoint(RESTART)")
    copied(folder, folder / "copy")
    connection.close()
    return folder / "copy"


def test_the_log_is_laid_over_the_file(busy, tmp_path):
    found = typed(rows(busy / FILE))
    assert found == typed(selected(busy / FILE))
    shutil.copy(busy / FILE, tmp_path)
    assert found != typed(rows(tmp_path / FILE))


@unhurried
@given(cut=st.floats(0, 1), tail=st.integers(0, 3 * FRAME), seed=st.integers())
def test_a_log_that_is_cut_or_ends_in_garbage_is_read_as_sqlite_recovers_it(busy, tmp_path, cut, tail, seed):
    path = copied(busy, tmp_path / "cut")
    log = (busy / WAL).read_bytes()
    path.with_name(WAL).write_bytes(log[: int(cut * len(log))] + noise(seed, tail))
    assert typed(rows(path)) == typed(selected(path))


class Transaction(NamedTuple):
    """Which frames of the log are a transaction's."""

    begins: int
    ends: int  # its last frame, the repeated ones included


def transactions(log: bytes) -> list[Transaction]:
    """The transactions of a log's present round."""
    found: list[Transaction] = []
    begins, end = 0, b""
    for number, at in enumerate(range(HEADER, len(log) - FRAME + 1, FRAME)):
        frame = log[at : at + FRAME]
        if frame[8:16] != log[16:24]:
            break
        mark = frame[:8] + frame[24:]
        if mark == end:
            found[-1] = Transaction(found[-1].begins, number)
            begins = number + 1
        elif frame[4:8] != bytes(4):
            found.append(Transaction(begins, number))
            begins, end = number + 1, mark
    return found


@settings(unhurried, max_examples=25)
@given(data=st.data())
def test_a_power_cut_in_the_last_transaction_is_no_damage(busy, tmp_path, data):
    """Of what was not synced any block may be on the disk, and be it half of a block."""
    path = copied(busy, tmp_path / "cut")
    log = bytearray((busy / WAL).read_bytes())
    last = transactions(bytes(log))[data.draw(st.integers(1, 10), "transactions done")]
    begins, ends = HEADER + last.begins * FRAME, HEADER + (last.ends + 1) * FRAME
    before = data.draw(st.sampled_from([bytes(len(log)), noise(1, len(log))]), "what was there")
    log[ends:] = before[ends : ends + 3 * FRAME]
    for block in range(begins // 512, ends // 512 + 1):
        if data.draw(st.booleans()):
            start, end = max(begins, block * 512), min(ends, (block + 1) * 512)
            log[start:end] = before[start:end]
    path.with_name(WAL).write_bytes(log)
    assert not read_wal(path.with_name(WAL)).damaged
    assert typed(rows(path)) == typed(selected(path))


@settings(unhurried, max_examples=25)
@given(part=st.floats(0, 1, exclude_max=True), where=st.integers(0, FRAME - 1), size=st.sampled_from([1, 512, 4096]))
def test_what_is_committed_behind_a_damaged_part_is_found(busy, tmp_path, part, where, size):
    path = copied(busy, tmp_path / "flipped")
    log = bytearray((busy / WAL).read_bytes())
    done = transactions(bytes(log))
    frame = int(part * (done[-1].ends + 1))
    at = HEADER + frame * FRAME + where
    log[at : at + size] = bytes(byte ^ 0xFF for byte in log[at : at + size])
    path.with_name(WAL).write_bytes(log)
    touched = range(frame, (at + size - 1 - HEADER) // FRAME + 2)  # behind a header that is wrong nothing can be told
    behind = sum(1 for transaction in done if transaction.begins > touched[-1])
    found, wal = typed(rows(path)), read_wal(path.with_name(WAL))
    if behind >= 2:
        assert wal.damaged
    if not wal.damaged:
        assert found == typed(selected(path))
        return
    assert behind >= 1
    without = copied(busy, tmp_path / "without")  # with a log that tells nothing of the pages in these frames
    rest = bytearray((busy / WAL).read_bytes())
    page = {n: bytes(rest[HEADER + n * FRAME : HEADER + n * FRAME + 4]) for n in range(done[-1].ends + 1)}
    for n in page:
        if any(page[n] == page.get(other) for other in touched):
            rest[HEADER + n * FRAME + 24 : HEADER + (n + 1) * FRAME] = bytes(PAGE)
    without.with_name(WAL).write_bytes(rewritten(bytes(rest), int.from_bytes(rest[:4], "big")))
    assert typed(rows(without)) & typed(rows(busy / FILE)) <= found


def rewritten(log: bytes, magic: int, version: int = 3007000) -> bytes:
    """The log with another header and the checksums that go with it, stale frames left out."""
    order = ">II" if magic & 1 else "<II"
    total = [0, 0]

    def add(data: bytes) -> bytes:
        for words in struct.iter_unpack(order, data):
            for half in (0, 1):
                total[half] = (total[half] + words[half] + total[1 - half]) % 2**32
        return struct.pack(">II", *total)

    header = struct.pack(">II", magic, version) + log[8:24]
    out = header + add(header)
    for at in range(32, len(log), FRAME):
        frame = log[at : at + FRAME]
        if frame[8:16] != log[16:24]:
            break
        out += frame[:16] + add(frame[:8] + frame[24:]) + frame[24:]
    return out


@pytest.mark.parametrize("byte", range(HEADER))
def test_all_is_found_though_a_bit_of_the_header_is_wrong(busy, tmp_path, byte):
    path = copied(busy, tmp_path / "flipped")
    log = (busy / WAL).read_bytes()
    overwrite(path.with_name(WAL), byte, bytes([log[byte] ^ 1 << byte % 8]))
    assert read_wal(path.with_name(WAL)).damaged
    assert typed(rows(path)) == typed(rows(busy / FILE)) != typed(selected(path))


@pytest.mark.parametrize("size", [HEADER, 512, 4096])
@pytest.mark.parametrize("fill", [0x00, 0xFF])
def test_what_is_behind_a_ruined_begin_is_found(busy, tmp_path, size, fill):
    path = copied(busy, tmp_path / "ruined")
    overwrite(path.with_name(WAL), 0, bytes([fill]) * size)
    wal, whole = read_wal(path.with_name(WAL)), read_wal(busy / WAL)
    assert wal.damaged
    assert wal.pages == whole.pages
    assert {page for page, at in whole.offsets.items() if wal.offsets.get(page) != at} <= {
        int.from_bytes((busy / WAL).read_bytes()[at : at + 4], "big") for at in range(HEADER, size, FRAME)
    }


def test_without_a_header_a_single_transaction_proves_itself_by_what_is_left_of_it(tmp_path):
    connection = connect(tmp_path)
    connection.execute("CREATE TABLE log (id INTEGER PRIMARY KEY, data BLOB)")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.execute("INSERT INTO log VALUES (7, 'x')")
    connection.commit()
    path = copied(tmp_path, tmp_path / "copy")
    connection.close()
    overwrite(path.with_name(WAL), 9, b"?")
    assert (7, (None, "x")) in set(rows(path))


@pytest.mark.parametrize("magic", [0x377F0682, 0x377F0683])
def test_a_log_of_either_byte_order_is_read(busy, tmp_path, magic):
    path = copied(busy, tmp_path / "rewritten")
    log = rewritten((busy / WAL).read_bytes(), magic)
    path.with_name(WAL).write_bytes(log)
    assert typed(rows(path)) == typed(selected(path)) == typed(rows(busy / FILE))
    at = HEADER + transactions(log)[-1].begins * FRAME + 100
    overwrite(path.with_name(WAL), at, bytes([log[at] ^ 1]))
    assert typed(rows(path)) == typed(selected(path)) != typed(rows(busy / FILE))


@pytest.mark.parametrize(("magic", "version"), [(0x377F0684, 3007000), (0x377F0682, 3007001)])
def test_a_log_of_another_format_is_ignored(busy, tmp_path, magic, version):
    path = copied(busy, tmp_path / "rewritten")
    path.with_name(WAL).write_bytes(rewritten((busy / WAL).read_bytes(), magic, version))
    shutil.copy(busy / FILE, tmp_path)
    assert typed(rows(path)) == typed(rows(tmp_path / FILE))


DIES = """
import os, sys
from pathlib import Path
from edged.store.tables import connect
connection = connect(Path(sys.argv[1]))
connection.execute("CREATE TABLE t (a, b)")
for n in range(300):
    connection.execute("INSERT INTO t VALUES (?, ?)", (n, os.urandom(37 * n)))
    connection.commit()
connection.executemany("INSERT INTO t VALUES (?, ?)", [(n, bytes(10_000)) for n in range(400)])
os._exit(0)
"""


def test_a_killed_process_leaves_what_it_committed(tmp_path):
    subprocess.run([sys.executable, "-c", DIES, str(tmp_path)], check=True, timeout=60)
    found = Counter(rows(tmp_path / FILE))
    assert found == selected(tmp_path / FILE)
    assert {row.values[0] for row in found if len(row.values) == 2} == set(range(300))
