"""Tables of mounts that a container fills: long, and with every byte that a path may have."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.hostile import calls
from tests.hostile.actor import Actor
from tests.hostile.host import Host
from tests.hostile.lens import run
from tests.hostile.namespaces import another_netns, keep_netns

MEMORY = 256 << 20
"""Bytes of address space, however many mounts there are."""

NAMES = {
    "a line of its own": b"x\n1 1 0:4 net:[4026531833] /run/netns/made rw - nsfs nsfs rw\n",
    "white space": b" \t\r\v\f ",
    "backslashes": b"\\040\\134\\n\\",
    "escape sequences": b"\x1b]0;title\x07\x1b[2J\x9b31m",
    "not UTF-8": b"\xff\xfe\xc3(\xed\xa0\x80",
    "a dash": b" - nsfs nsfs",
    "the end of a deleted path": b"ns//deleted",
    "other directions": "\u202e\u2066net".encode(),
}


@pytest.mark.parametrize("what", NAMES)
def test_a_mount_with_a_hostile_name(host: Host, what: str) -> None:
    """A namespace's file in a folder with such a name is found all the same, and what is printed
    has nothing of it that moves a terminal."""
    path = f"{host.folder}/names".encode() + b"/" + NAMES[what].replace(b"/", b"\xe2\x81\x84")[:250]

    def part() -> Iterator[Any]:
        os.mkdir(f"{host.folder}/names")
        calls.mount("tmpfs", f"{host.folder}/names")
        os.mkdir(path)
        inode = keep_netns(path + b"/ns")
        home = os.open("/proc/self/ns/net", os.O_RDONLY)
        way = os.open(path + b"/ns", os.O_RDONLY)
        calls.setns(way)
        host.bench.set_xdp(host.bench.device(), host.xdp)
        calls.setns(home)
        os.close(way)
        yield inode

    inode = host.act(part, user=True).told
    found = host.attachments()
    assert [each for each in found.items if each["target"].endswith(f"@{inode}")]
    assert not [each for each in found.items if "made" in each["target"]]
    assert run("attach", "list").stdout.replace("\n", "").isprintable()


def crowd(host: Host, count: int) -> Actor:
    """A user's mount namespace with so many mounts of one namespace's file, each path of 3,900
    bytes."""

    def part() -> Iterator[Any]:
        os.mkdir(f"{host.folder}/deep")
        calls.mount("tmpfs", f"{host.folder}/deep", "nr_inodes=0")
        os.chdir(f"{host.folder}/deep")
        for _ in range(15):
            os.mkdir("d" * 255)
            os.chdir("d" * 255)
        with another_netns() as inode:
            for number in range(count):
                os.close(os.open(str(number), os.O_CREAT))
                calls.bind("/proc/self/ns/net", str(number))
        yield inode

    return host.act(part, user=True)


@pytest.mark.parametrize(
    "count", [20_000, pytest.param(90_000, marks=pytest.mark.soak)], ids="{:,} mounts".format
)
def test_many_mounts_with_long_paths(host: Host, count: int) -> None:
    """They cost neither the memory of the host nor what is honest on it. (The most that a mount
    namespace may have is 100,000, fs.mount-max.)"""
    crowd(host, count)
    host.attachments(memory=MEMORY)
