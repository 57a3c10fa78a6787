"""The index kept in a file: used if it is whole and ours, passed over in every other case."""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from pathlib import Path

import pytest

from bpflens.btf import Btf, cache
from bpflens.btf import types as t
from bpflens.btf.build import BtfBuilder
from bpflens.errors import FormatError


def _data() -> bytes:
    builder = BtfBuilder()
    number = builder.add_int("int", 4)
    builder.add_struct("s", 4, [("x", number, 0)])
    return builder.build()


def _name() -> str:
    return cache._name(_data()) + ".btfindex"


def _file(directory: Path) -> Path:
    (path,) = directory.iterdir()
    return path


def _is_used(monkeypatch: pytest.MonkeyPatch, directory: Path) -> bool:
    """Whether a second process would do without the walk over all records."""
    walked = []

    def parse(data: bytes, base: Btf | None = None) -> Btf:
        walked.append(True)
        return Btf(data, base)

    monkeypatch.setattr(Btf, "parse", parse)
    btf = cache.load(_data(), str(directory))
    assert btf.find("s", t.Struct) == Btf(_data()).find("s", t.Struct)
    return not walked


def test_the_second_process_uses_the_index_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "made" / "when missing"
    first = cache.load(_data(), str(directory))
    assert first.find("s", t.Struct) is not None
    assert _file(directory).name == _name()
    assert _file(directory).stat().st_mode & 0o077 == 0
    assert _is_used(monkeypatch, directory)


def test_a_file_cut_short_or_altered_anywhere_is_passed_over_and_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.load(_data(), str(tmp_path))
    good = _file(tmp_path).read_bytes()
    broken = [good[:end] for end in range(len(good))] + [good + b"\0"]
    for at in range(len(good)):
        broken.append(good[:at] + bytes([good[at] ^ 0x80]) + good[at + 1 :])
    for content in broken:
        assert cache._decode(content) is None
    _file(tmp_path).write_bytes(broken[-1])
    assert not _is_used(monkeypatch, tmp_path)
    assert _file(tmp_path).read_bytes() == good


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_may_write_is_passed_over(
    mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.load(_data(), str(tmp_path))
    _file(tmp_path).chmod(mode)
    assert not _is_used(monkeypatch, tmp_path)


def test_a_file_of_another_user_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    cache.load(_data(), str(tmp_path))
    os.chown(_file(tmp_path), 12345, 12345)
    assert not _is_used(monkeypatch, tmp_path)


def test_a_link_in_place_of_the_file_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "cache"
    cache.load(_data(), str(directory))
    path = _file(directory)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert not _is_used(monkeypatch, directory)


def test_a_directory_or_a_pipe_in_place_of_the_file_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = _name()
    os.mkfifo(tmp_path / name)
    assert not _is_used(monkeypatch, tmp_path)
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    assert not _is_used(monkeypatch, tmp_path)


def test_a_directory_that_cannot_be_made_costs_nothing_but_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    btf = cache.load(_data(), str(tmp_path / "file" / "below"))
    assert btf.find("s", t.Struct) is not None


def test_no_unfinished_file_is_left(tmp_path: Path) -> None:
    blocked = tmp_path / _name()
    blocked.mkdir()
    (blocked / "full").touch()
    cache.load(_data(), str(tmp_path))
    assert _file(tmp_path) == blocked


@pytest.mark.parametrize(
    "words",
    [
        [0xFFFFFFFF, 0xFFFFFFFF, 1, 1],
        [5, 6, 5, 5],
        [0, 0, 0xFFFFFFFF, 0xFFFFFFFF],
        [4, 9, 1, 5],
        [],
        [0] * 2000,
    ],
)
def test_an_index_that_lies_gives_values_or_format_errors(words: list[int], tmp_path: Path) -> None:
    """A file that is whole, with a checksum that fits, made by someone who means harm."""
    index = memoryview(struct.pack(f"={len(words)}I", *words)).cast("I")
    half = len(words) // 2
    (tmp_path / _name()).write_bytes(cache._encode((index[:half], index[half:])))
    btf = cache.load(_data(), str(tmp_path))
    assert len(btf) == len(words) // 2 + 1
    for type_id in btf.ids():
        for ask in (btf.__getitem__, btf.type_name, btf.sizeof, btf.alignof, btf.kind):
            with suppress(FormatError):
                ask(type_id)
    with suppress(FormatError):
        btf.find_all("s")
    with suppress(FormatError):
        list(btf.ids_of(t.Struct))


def test_the_kernels_index_is_the_same_from_the_file(vmlinux: Btf, tmp_path: Path) -> None:
    data = Path("/sys/kernel/btf/vmlinux").read_bytes()
    cache.load(data, str(tmp_path))
    again = cache.load(data, str(tmp_path))
    assert again.index == vmlinux.index
    assert again.find("task_struct", t.Struct) == vmlinux.find("task_struct", t.Struct)
