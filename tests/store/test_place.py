"""Where the store is: what does not outlive a reboot, and what a person can do where nothing can be written."""

import errno
import os
import sqlite3
from pathlib import Path

import pytest

from edged.store import disk as disk_module
from edged.store import place
from edged.store.place import Mount, explain, give_to_owner, mounts, volatile
from tests.conftest import without_root
from tests.store import open_log

STATE = Path("/var/lib/edged")

# Lines as proc(5) describes them, of systems as they come.
CARD = """\
22 27 0:20 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
24 27 0:5 / /dev rw,nosuid,relatime shared:2 - devtmpfs udev rw,size=187832k,nr_inodes=46958,mode=755
26 27 0:23 / /run rw,nosuid,nodev,noexec,relatime shared:5 - tmpfs tmpfs rw,size=90000k,mode=755
27 1 179:2 / / rw,noatime shared:1 - ext4 /dev/root rw
66 27 179:1 / /boot/firmware rw,relatime shared:33 - vfat /dev/mmcblk0p1 rw,fmask=0022
70 27 0:40 / /tmp rw,nosuid,nodev shared:40 - tmpfs tmpfs rw,size=200000k
"""
_ROOT_LAYERS = "lowerdir=/media/root-ro,upperdir=/media/root-rw/overlay,workdir=/media/root-rw/overlay-workdir/_"
OVERLAYROOT = f"""\
25 1 0:21 / / rw,relatime shared:1 - overlay overlayroot rw,{_ROOT_LAYERS},uuid=on
27 25 179:2 / /media/root-ro ro,relatime shared:2 - ext4 /dev/mmcblk0p2 ro
28 25 0:22 / /media/root-rw rw,relatime shared:3 - tmpfs tmpfs-root rw
29 25 179:1 / /boot/firmware ro,relatime shared:4 - vfat /dev/mmcblk0p1 ro
"""
_DOCKER = "/var/lib/docker/overlay2"
CONTAINER = f"""\
612 540 0:52 / / rw master:260 - overlay overlay rw,lowerdir={_DOCKER}/l/AB:{_DOCKER}/l/CD,upperdir={_DOCKER}/0f/diff
613 612 0:55 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
614 612 0:56 / /dev rw,nosuid - tmpfs tmpfs rw,size=65536k,mode=755
615 612 179:2 /var/lib/docker/volumes/state/_data /var/lib/edged rw,noatime master:1 - ext4 /dev/root rw
"""


@pytest.mark.parametrize(
    ("table", "folder"),
    [
        (CARD, STATE),
        (CARD, Path("/tmpfiles/edged")),
        (CARD, Path("/runner")),
        (CONTAINER, STATE),
        (CONTAINER, Path("/srv/edged")),  # gone with the container, but not with a reboot
        (OVERLAYROOT, Path("/boot/firmware/edged")),
        ("", STATE),
        ("what a future kernel\nmay write here - \n", STATE),
    ],
)
def test_no_warning_where_it_is_on_a_disk(table, folder):
    assert volatile(folder, table) == ""


@pytest.mark.parametrize(
    ("table", "folder", "why"),
    [
        (CARD, Path("/run/edged"), "/run/edged is in memory (tmpfs on /run)"),
        (CARD, Path("/run"), "/run is in memory (tmpfs on /run)"),
        (CARD, Path("/tmp/a/b"), "/tmp/a/b is in memory (tmpfs on /tmp)"),
        (
            CARD.replace("tmpfs tmpfs rw,size=90000k", "ramfs none rw"),
            Path("/run/x"),
            "/run/x is in memory (ramfs on /run)",
        ),
        (
            OVERLAYROOT,
            STATE,
            "/var/lib/edged is on an overlay whose upper layer is in memory (/media/root-rw/overlay)",
        ),
    ],
)
def test_what_is_in_memory_is_said(table, folder, why):
    assert volatile(folder, table) == why


def test_the_last_mount_on_a_point_is_the_one_that_counts():
    over = CARD + "90 27 0:60 / /var/lib/edged rw - tmpfs tmpfs rw\n"
    assert volatile(STATE, over) != ""
    assert volatile(STATE, over + "91 90 179:3 / /var/lib/edged rw - ext4 /dev/sda1 rw\n") == ""


@pytest.mark.parametrize(
    ("written", "point"),
    [(r"/mnt/usb\040stick", "/mnt/usb stick"), (r"/mnt/a\134b\011c", "/mnt/a\\b\tc"), ("/mnt/küche", "/mnt/küche")],
)
def test_a_mount_point_may_have_any_name(written, point):
    table = CARD + f"90 27 0:60 / {written} rw - tmpfs tmpfs rw\n"
    assert volatile(Path(point) / "edged", table) == f"{point}/edged is in memory (tmpfs on {point})"


def test_fields_that_a_mount_may_have_or_not_are_passed_over():
    line = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 propagate_from:3 - ext3 /dev/root rw,errors=continue"
    bare = "36 35 98:0 / /mnt3 rw,noatime - ext3 /dev/root rw"
    assert mounts(f"{line}\n{bare}\n") == [
        Mount(Path("/mnt2"), "ext3", "rw,errors=continue"),
        Mount(Path("/mnt3"), "ext3", "rw"),
    ]


def test_this_machine_has_mounts():
    there = mounts(Path("/proc/self/mountinfo").read_text())
    assert Path("/proc") in [mount.point for mount in there]


@pytest.mark.guarantee(10)
@pytest.mark.parametrize("memory", [True, False])
def test_a_store_in_memory_is_warned_of_once_and_used_all_the_same(tmp_path, monkeypatch, caplog, memory):
    kind = "tmpfs" if memory else "ext4"
    monkeypatch.setattr(disk_module, "mountinfo", lambda: f"1 0 0:1 / {tmp_path.parent} rw - {kind} x rw\n")
    log = open_log(tmp_path)
    assert log.trouble == ""
    warning = f"{tmp_path} is in memory (tmpfs on {tmp_path.parent})"
    assert caplog.messages == (
        [f"{warning}: what is queued does not outlive a reboot; name another state_dir"] if memory else []
    )
    log.stop()


@pytest.mark.guarantee(10)
def test_a_mount_whose_name_is_no_text_keeps_nothing_from_starting(tmp_path, monkeypatch, caplog):
    table = tmp_path / "mountinfo"
    table.write_bytes(b"1 0 8:1 / / rw - ext4 x rw\n2 1 8:2 / /media/B\xfcro rw - tmpfs x rw\n")
    monkeypatch.setattr(disk_module, "Path", lambda name: table)
    log = open_log(tmp_path / "state")
    assert (log.trouble, caplog.messages) == ("", [])
    log.stop()


# --- what keeps it from being written


IO_ERROR = sqlite3.OperationalError("disk I/O error")


def test_an_error_of_which_nothing_is_known_is_said_with_the_place(tmp_path):
    assert explain(tmp_path, IO_ERROR) == f"{tmp_path}: disk I/O error"


@pytest.mark.parametrize("unit", [True, False])
def test_a_read_only_file_system_says_where_to_look(tmp_path, monkeypatch, unit):
    monkeypatch.delenv("INVOCATION_ID", raising=False)
    if unit:
        monkeypatch.setenv("INVOCATION_ID", "3f0c")
    error = OSError(errno.EROFS, "Read-only file system")
    advice = f"; or add ReadWritePaths={tmp_path} to the unit" if unit else ""
    assert explain(tmp_path, error) == (
        f"the file system of {tmp_path} is read-only: {error}; look at the disk (dmesg){advice}"
    )


def test_a_file_system_that_went_read_only_is_found_whatever_the_error_says(tmp_path, monkeypatch):
    """SQLite says "attempt to write a readonly database" or "disk I/O error"."""
    monkeypatch.delenv("INVOCATION_ID", raising=False)
    statvfs = os.statvfs(tmp_path)

    class ReadOnly:
        f_flag = statvfs.f_flag | os.ST_RDONLY

    monkeypatch.setattr(os, "statvfs", lambda path: ReadOnly())
    for folder in (tmp_path, tmp_path / "not" / "there"):
        assert explain(folder, IO_ERROR) == (
            f"the file system of {folder} is read-only: disk I/O error; look at the disk (dmesg)"
        )


def test_what_belongs_to_another_user_is_named_with_the_command_that_mends_it(tmp_path):
    """`sudo edged run` once, and the service's files are root's."""
    if os.geteuid() != 0:
        pytest.skip("needs root to give files away")
    folder = tmp_path / "state"
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    (folder / "store.db").touch(mode=0o640)
    for parent in [tmp_path, *tmp_path.parents[:3]]:
        if parent.stat().st_uid == 0 and parent != Path("/tmp"):
            parent.chmod(0o755)
    with without_root():
        assert explain(folder, IO_ERROR) == (
            f"{folder}/store.db belongs to root and cannot be written by nobody; sudo chown -R nobody: {folder}"
        )
    os.chown(folder / "store.db", 65534, 65534)
    os.chown(folder, 12345, 0)
    folder.chmod(0o755)
    with without_root():
        assert explain(folder, IO_ERROR) == (
            f"{folder} belongs to 12345 and cannot be written by nobody; run edged as 12345, or if 12345 does"
            f" so no more: sudo chown -R nobody: {folder}"
        )


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_a_folder_that_may_not_be_made_points_to_the_config(tmp_path, number):
    error = PermissionError(number, os.strerror(number))
    assert explain(tmp_path / "state", error) == (
        f"{tmp_path}/state cannot be made or opened by {place.name_of(os.geteuid())}: {error};"
        " see state_dir in the config"
    )


def test_each_is_one_line(tmp_path):
    for error in (IO_ERROR, OSError(errno.EROFS, "x"), OSError(errno.EACCES, "x"), OSError(errno.ENOSPC, "x")):
        assert "\n" not in explain(tmp_path, error)


# --- whose files


def test_files_that_root_makes_in_a_users_folder_are_that_users(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root to give files away")
    (tmp_path / "mine").touch()
    give_to_owner(tmp_path / "mine")
    assert (tmp_path / "mine").stat().st_uid == 0
    folder = tmp_path / "state"
    folder.mkdir()
    os.chown(folder, 12345, 23456)
    open_log(folder).stop()
    owners = {path.name: (path.stat().st_uid, path.stat().st_gid) for path in folder.iterdir()}
    assert {"lock", "store.db", "reserve"} <= set(owners)
    assert set(owners.values()) == {(12345, 23456)}
