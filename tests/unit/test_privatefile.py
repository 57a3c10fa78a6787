"""Files that we write: whole or not at all, for their owner alone, and through nothing."""

from __future__ import annotations

import os
import signal
import stat
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bpflens import privatefile
from bpflens.privatefile import keep, write

CONTENT = bytes(range(256)) * 5000


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.mark.parametrize("mask", [0, 0o022, 0o077, 0o777])
def test_a_file_is_its_owners_alone_from_the_first_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, umask: Callable[[int], int], mask: int
) -> None:
    seen: list[tuple[str, int]] = []
    really = os.write

    def spy(fd: int, data: bytes) -> int:
        (path,) = tmp_path.iterdir()
        seen.append((path.name, mode(path)))
        return really(fd, data)

    umask(mask)
    monkeypatch.setattr(os, "write", spy)
    write(str(tmp_path / "m.cassette"), CONTENT)
    assert len(seen) == 2
    for name, bits in seen:
        assert name.startswith(".m.cassette.bpflens-")
        assert bits == 0o600
    assert (tmp_path / "m.cassette").read_bytes() == CONTENT
    assert mode(tmp_path / "m.cassette") == 0o600


def test_a_file_that_all_could_read_is_replaced_and_not_written_to(tmp_path: Path) -> None:
    path, other = tmp_path / "m", tmp_path / "other"
    path.write_bytes(b"old")
    path.chmod(0o666)
    other.hardlink_to(path)
    write(str(path), b"new")
    assert (path.read_bytes(), other.read_bytes(), mode(path)) == (b"new", b"old", 0o600)


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim, link, nowhere = tmp_path / "victim", tmp_path / "link", tmp_path / "nowhere"
    victim.write_bytes(b"mine")
    link.symlink_to(victim)
    nowhere.symlink_to(tmp_path / "made")
    for path in (link, nowhere):
        write(str(path), b"new")
        assert (path.is_symlink(), path.read_bytes()) == (False, b"new")
    assert victim.read_bytes() == b"mine"
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("target", [os.devnull, "/proc/self/fd/1", "fifo", "folder"])
def test_a_link_to_what_no_file_should_replace_is_refused(tmp_path: Path, target: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    link = tmp_path / "link"
    link.symlink_to(target)
    with ThreadPoolExecutor() as pool, open(tmp_path / "out", "w+b") as out:
        fds = (os.dup(1), os.pipe())
        os.dup2(fds[1][1], 1)
        try:
            with pytest.raises(OSError, match="give its own path"):
                pool.submit(write, str(link), b"new").result(timeout=10)
        finally:
            os.dup2(fds[0], 1)
            for fd in (fds[0], *fds[1]):
                os.close(fd)
        assert out.read() == b""
    assert os.readlink(link) == target


@pytest.mark.parametrize("path", ["/proc/self/fd/{}", "/dev/fd/{}", "/proc/thread-self/fd/{}"])
def test_an_open_file_of_ours_is_written_to_where_it_stands(tmp_path: Path, path: str) -> None:
    with open(tmp_path / "log", "w+b", buffering=0) as log:
        log.write(b"before, ")
        write(path.format(log.fileno()), b"after")
        assert (tmp_path / "log").read_bytes() == b"before, after"
    reader, writer = os.pipe()
    write(path.format(writer), b"through")
    os.close(writer)
    with open(reader, "rb") as got:
        assert got.read() == b"through"


@pytest.mark.parametrize("path", ["-", "/dev/stdout"])
def test_standard_output_is_written_to(capfd: pytest.CaptureFixture[str], path: str) -> None:
    write(path, b"told")
    assert capfd.readouterr().out == "told"
    assert not Path("-").exists()


def test_a_fifo_is_written_to_once_someone_reads(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with ThreadPoolExecutor() as pool:
        got = pool.submit(fifo.read_bytes)
        write(str(fifo), CONTENT)
        assert got.result() == CONTENT
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def test_a_device_stays(tmp_path: Path) -> None:
    write(os.devnull, CONTENT)
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
    with pytest.raises(OSError, match=r"No space left on device: '/dev/full'"):
        write("/dev/full", CONTENT)


@pytest.mark.parametrize("name", ["", ".", "folder", "folder/", "none/x", "file/x"])
def test_what_is_no_place_for_a_file_is_refused_and_nothing_is_left(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    path = f"{tmp_path}/{name}"
    with pytest.raises(OSError) as caught:  # noqa: PT011
        write(path, CONTENT)
    assert caught.value.filename == path
    assert {p.name for p in tmp_path.iterdir()} == {"folder", "file"}
    assert list((tmp_path / "folder").iterdir()) == []


@pytest.mark.parametrize("length", [100, 101, 255])
def test_a_long_name_has_room_beside_it(tmp_path: Path, length: int) -> None:
    path = tmp_path / ("ä" * (length // 2) + "n" * (length % 2))
    write(str(path), b"new")
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"new"]


@pytest.mark.parametrize("error", [OSError(28, "full"), KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize("call", ["write", "replace", "fchmod"])
def test_what_fails_on_the_way_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: BaseException
) -> None:
    path = tmp_path / "m"
    path.write_bytes(b"old")

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(type(error)):
        write(str(path), CONTENT)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


def test_a_fifo_that_no_process_reads_is_refused_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(privatefile, "READER_SECONDS", 0.05)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="no process reads from this FIFO"):
        write(str(tmp_path / "fifo"), CONTENT)


def test_an_interrupt_while_a_fifo_waits_for_a_reader_ends_it(tmp_path: Path) -> None:
    # a shell starts what runs in the background with SIGINT ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    later = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    later.start()
    with pytest.raises(KeyboardInterrupt):
        write(str(fifo), CONTENT)
    later.join()
    signal.signal(signal.SIGINT, before)


def test_a_directory_that_is_swapped_meanwhile_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, other = tmp_path / "ours", tmp_path / "other"
    ours.mkdir()
    other.mkdir()
    really = os.write

    def swap(fd: int, data: bytes) -> int:
        if not (tmp_path / "moved").exists():
            ours.rename(tmp_path / "moved")
            ours.symlink_to(other)
        return really(fd, data)

    monkeypatch.setattr(os, "write", swap)
    write(str(ours / "m"), CONTENT)
    assert list(other.iterdir()) == []
    assert (tmp_path / "moved" / "m").read_bytes() == CONTENT


def test_a_fifo_that_becomes_a_file_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, victim = tmp_path / "fifo", tmp_path / "victim"
    os.mkfifo(path)
    victim.write_bytes(b"mine")
    really = privatefile._through

    def swap(place: int, *rest: object) -> None:
        path.unlink()
        path.hardlink_to(victim)
        really(place, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(privatefile, "_through", swap)
    with pytest.raises(PermissionError):
        write(str(path), CONTENT)
    assert victim.read_bytes() == b"mine"


def test_what_is_kept_never_fails_and_never_waits(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(os.devnull)
    for name in ("fifo", "link", "new/deep/file"):
        keep(str(tmp_path / name), b"kept")
        assert (tmp_path / name).read_bytes() == b"kept"
        assert mode(tmp_path / name) == 0o600
    assert mode(tmp_path / "new" / "deep") == 0o700
    keep(str(tmp_path / "link" / "below"), b"kept")
    keep(str(tmp_path / "new"), b"kept")
    keep("/proc/none", b"kept")
