"""Files that root writes where others may write too: what they plant there is not written through.

In a mount namespace of its own, on a tmpfs of its own.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpflens.port.recording import load
from bpflens.testing.on_linux import CLONE_NEWNS, MNT_DETACH, MS_REC_PRIVATE, checked, libc

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
NOBODY = 65534
SECRET = "root's own"
WAYS = (("record", "{}"), ("--record", "{}", "prog", "list"))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory as /tmp is."""
    home, folder = os.open("/proc/self/ns/mnt", os.O_RDONLY), os.getcwd()
    checked(libc.unshare(CLONE_NEWNS), "unshare")
    try:
        checked(libc.mount(b"none", b"/", None, MS_REC_PRIVATE, None), "mount")
        path = tmp_path / "shared"
        path.mkdir()
        checked(libc.mount(b"none", bytes(path), b"tmpfs", 0, b"mode=1777,size=8m"), "mount")
        yield path
        checked(libc.umount2(bytes(path), MNT_DETACH), "umount")
    finally:
        checked(libc.setns(home, CLONE_NEWNS), "setns")
        os.close(home)
        os.chdir(folder)


@pytest.fixture
def victim(place: Path) -> Path:
    """A file of root's that others may not read."""
    path = place / "victim"
    path.write_text(SECRET)
    path.chmod(0o600)
    return path


def run(path: Path, way: tuple[str, ...] = WAYS[0]) -> subprocess.CompletedProcess[str]:
    """Record the engine's demo there; ends by itself or fails."""
    words = [word.format(path) for word in way]
    return subprocess.run(
        [sys.executable, "-m", "bpflens", "--on", "engine:demo", *words],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def is_ours(path: Path) -> bool:
    """Whether it is a recording for root alone."""
    status = path.lstat()
    load(str(path))
    return (stat.S_ISREG(status.st_mode), status.st_uid, stat.S_IMODE(status.st_mode)) == (
        True, 0, 0o600,
    )  # fmt: skip


def plant(kind: str, path: Path, victim: Path) -> None:
    """What another user puts there."""
    if kind == "link":
        path.symlink_to(victim)
    elif kind == "hardlink":
        path.hardlink_to(victim)  # as where fs.protected_hardlinks is 0
        return
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "file":
        path.write_text("x")
        path.chmod(0o666)
    os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


@pytest.mark.parametrize("way", WAYS, ids=" ".join)
@pytest.mark.parametrize("kind", ["link", "hardlink", "fifo", "file"])
def test_what_lies_at_a_name_that_can_be_guessed_is_left_alone(
    place: Path, victim: Path, kind: str, way: tuple[str, ...]
) -> None:
    """A user plants links, files and FIFOs at names that an unfinished recording might have."""
    path = place / "m.cassette"
    for name in (f"{path}.part", f"{path}.{os.getpid()}", place / ".m.cassette.bpflens-00000000"):
        plant(kind, Path(name), victim)
    before = {p: p.lstat().st_ino for p in place.iterdir()}
    assert run(path, way).returncode == 0
    assert is_ours(path)
    assert victim.read_text() == SECRET
    assert {p: p.lstat().st_ino for p in place.iterdir() if p != path} == before


@pytest.mark.parametrize("kind", ["link", "hardlink", "file"])
def test_what_lies_at_the_name_itself_is_replaced(place: Path, victim: Path, kind: str) -> None:
    """A user's file, or a link to a file of root's, lies at the name of a recording."""
    path = place / "m.cassette"
    plant(kind, path, victim)
    assert run(path).returncode == 0
    assert is_ours(path)
    assert victim.read_text() == SECRET
    assert sorted(p.name for p in place.iterdir()) == ["m.cassette", "victim"]


def test_a_fifo_of_another_user_is_not_told_anything(place: Path, victim: Path) -> None:
    """A user's FIFO lies at the name of a recording: it is refused."""
    path = place / "m.cassette"
    plant("fifo", path, victim)
    done = run(path)
    assert done.returncode == 1
    assert "a FIFO of another user" in done.stderr
    assert stat.S_ISFIFO(path.lstat().st_mode)


@pytest.mark.parametrize("target", ["/dev/null", "/proc/self/root", "fifo", "/proc/self/fd/1"])
def test_a_link_of_another_user_leads_nowhere(place: Path, victim: Path, target: str) -> None:
    """A user's link to a device, a FIFO or a directory lies at the name of a recording."""
    plant("fifo", place / "fifo", victim)
    path = place / "m.cassette"
    path.symlink_to(target)
    os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    done = run(path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "give its own path" in done.stderr
    assert os.readlink(path) == target


def test_a_device_stays_a_device(place: Path) -> None:
    """The name of a recording is that of a device: it is written to, and not replaced."""
    path = place / "null"
    os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    for way in WAYS:
        assert run(path, way).returncode == 0
    assert stat.S_ISCHR(path.lstat().st_mode)
    assert list(place.iterdir()) == [path]


def test_a_fifo_of_our_own_is_written_to(place: Path) -> None:
    """Who names his own FIFO, has a reader at its other end."""
    path, copy = place / "fifo", place / "copy"
    os.mkfifo(path)
    with copy.open("wb") as out, subprocess.Popen(["cat", path], stdout=out):
        assert run(path).returncode == 0
    load(str(copy))
    assert stat.S_ISFIFO(path.lstat().st_mode)


def test_a_full_disk_leaves_what_was_there_and_no_part(place: Path) -> None:
    """The disk is full before a recording is whole."""
    path, filler = place / "m.cassette", place / "filler"
    path.write_text("good")
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(1 << 16)):
                pass
        except OSError:
            pass
    done = run(path)
    assert done.returncode == 1
    assert done.stderr == f"bpflens: [Errno 28] No space left on device: '{path}'\n"
    assert path.read_text() == "good"
    assert sorted(p.name for p in place.iterdir()) == ["filler", "m.cassette"]


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv (util-linux)")
def test_another_user_cannot_read_a_recording_at_any_time(place: Path) -> None:
    """It holds values of maps and addresses."""
    path = place / "m.cassette"
    loop = f"while :; do cat {place}/m.cassette {place}/.m.cassette* 2>/dev/null; done"
    with subprocess.Popen(
        ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "sh", "-c", loop],
        stdout=subprocess.PIPE,
    ) as other:
        for _ in range(3):
            assert run(path).returncode == 0
        other.kill()
        assert other.stdout is not None
        assert other.stdout.read() == b""
