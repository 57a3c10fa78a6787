"""Directories of bpffs that users own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from bpflens.testing.bench import NOBODY
from tests.hostile import calls
from tests.hostile.host import Host
from tests.hostile.lens import run

OVER = 100_001
"""One more than the files that a walk looks at."""


def users_folder(host: Host, name: str = "user") -> str:
    """A directory of the host's bpffs that a user owns."""
    path = f"{host.bpffs}/{name}"
    os.mkdir(path)
    os.chown(path, NOBODY, NOBODY)
    return path


def test_many_symlinks_hide_no_pin(host: Host) -> None:
    """100,001 symbolic links in a user's directory: a pin that the walk meets later is found, or it
    is told that not all were looked at, and `why` is sure of nothing."""
    os.mkdir(f"{host.bpffs}/z")
    map = host.pinned(f"{host.bpffs}/z/important")
    folder = users_folder(host, "a")

    def part() -> Iterator[Any]:
        for number in range(OVER):
            os.symlink("x", f"{folder}/{number}")
        yield None

    host.act(part, 0, user=True)
    found = host.map_shown(map)
    paths = found.one(id=map)["pinned"]
    assert paths == [f"{host.bpffs}/z/important"] or found.untold(host.bpffs)
    why = run("why", "map", str(map))
    assert f"{host.bpffs}/z/important" in why.stdout or why.status == 1


@pytest.mark.parametrize("depth", [33, 40, 400])
def test_a_pin_in_deep_directories(host: Host, depth: int) -> None:
    """It is found, or it is told that deeper directories were not looked at."""
    folder = users_folder(host)
    here = os.getcwd()
    try:
        os.chdir(folder)
        for _ in range(depth):
            os.mkdir("d")
            os.chdir("d")
        map = host.pinned("deep")
    finally:
        os.chdir(here)
    found = host.map_shown(map)
    paths = found.one(id=map)["pinned"]
    assert paths == [folder + "/d" * depth + "/deep"] or found.untold(folder)


def test_directories_become_symlinks_during_the_walk(host: Host) -> None:
    """A user swaps a directory with a link to a folder of the host, all the time: that folder is
    not read, and no pin is told to be where it is not."""
    folder = users_folder(host)
    os.mkdir(f"{host.folder}/etc")
    os.close(os.open(f"{host.folder}/etc/shadow", os.O_CREAT, 0o600))
    host.witness.watch(f"{host.folder}/etc")
    host.witness.watch(f"{host.folder}/etc/shadow")
    many = range(40)
    for number in many:
        os.mkdir(f"{folder}/d{number}")
        host.pinned(f"{folder}/d{number}/shadow")
        os.symlink(f"{host.folder}/etc", f"{folder}/e{number}")
        for name in "de":
            os.chown(f"{folder}/{name}{number}", NOBODY, NOBODY, follow_symlinks=False)

    def part() -> Iterator[Any]:
        yield None
        while True:
            for number in many:
                calls.exchange(f"{folder}/d{number}", f"{folder}/e{number}")
            yield

    host.act(part, 0, user=True)
    for _ in range(4):
        found = host.map_shown()
        assert host.witness.opened() == []
        assert found.one(id=host.map_id)["pinned"] == [host.pin]


NAMES = [
    b"\x1b]0;owned\x07",
    b"a\nb",
    b"\xff\xfe",
    b"x@4026531840",
    b"a b",
    b"-rf",
    b"\xe2\x80\xae",
]


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_a_pin_with_a_hostile_name(host: Host, name: bytes) -> None:
    """It is told as it is in a document, and moves no terminal."""
    folder = users_folder(host)
    path = os.fsencode(folder) + b"/" + name
    fd, map = host.map()
    # a name that the C string of bpf(2) takes as it is
    host.calls.obj_pin(fd, os.fsdecode(path))
    host.bench.files.close(fd)
    item = host.map_shown(map).one(id=map)
    assert item["pinned"][0].encode("utf-8", "replace").startswith(os.fsencode(folder) + b"/")
    for words in (("map", "show", str(map), "--parts", "all"), ("why", "map", str(map))):
        ran = run(*words)
        assert ran.status == 0, ran.stderr
        shown = [line for line in ran.stdout.splitlines() if folder in line]
        assert shown
        assert all(line.isprintable() for line in shown), shown
