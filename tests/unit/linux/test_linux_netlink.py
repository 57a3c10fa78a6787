"""Dumps over netlink: whole, of one moment, in the namespace that was entered."""

from __future__ import annotations

import errno
import os
import struct

import pytest

from bpflens.abi.netlink import (
    NETLINK_ROUTE,
    NLM_F_DUMP_INTR,
    NlMsgType,
    get_links,
    message,
)
from bpflens.linux import netlink
from bpflens.linux.netlink import LinuxNet

DONE = message(NlMsgType.DONE, 0, bytes(4))
TORN = message(NlMsgType.DONE, NLM_F_DUMP_INTR, bytes(4))
LINK = message(NlMsgType.NEWLINK, 0, b"link")


class Door:
    """A socket that gives what was put into it."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.closed = False

    def send(self, request: bytes) -> None:
        assert request

    def recv_into(self, buffer: bytearray) -> int:
        answer = self.answers.pop(0)
        buffer[: len(answer)] = answer
        return len(answer)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def doors(monkeypatch: pytest.MonkeyPatch) -> list[Door]:
    """The sockets that the next dumps get, in turn."""
    waiting: list[Door] = []
    monkeypatch.setattr(netlink, "_socket", lambda protocol: waiting.pop(0))
    return waiting


def test_a_dump_that_was_torn_is_repeated(doors: list[Door]) -> None:
    first, second = Door(LINK, TORN), Door(LINK + LINK, DONE)
    doors += [first, second]
    assert LinuxNet().dump(NETLINK_ROUTE, get_links()) == [b"link", b"link"]
    assert [first.closed, second.closed] == [True, True]


def test_one_that_is_torn_each_time_is_a_failure(doors: list[Door]) -> None:
    doors += [Door(message(NlMsgType.NEWLINK, NLM_F_DUMP_INTR, b""), DONE) for _ in range(5)]
    with pytest.raises(OSError, match="the table changed") as caught:
        LinuxNet().dump(NETLINK_ROUTE, get_links())
    assert caught.value.errno == errno.EAGAIN


@pytest.mark.parametrize("kind", [NlMsgType.ERROR, NlMsgType.DONE])
def test_what_the_kernel_ends_with_is_raised(doors: list[Door], kind: NlMsgType) -> None:
    doors.append(Door(LINK, message(kind, 0, struct.pack("=i", -errno.EPERM))))
    with pytest.raises(PermissionError):
        LinuxNet().dump(NETLINK_ROUTE, get_links())


def test_this_machine_tells_its_devices_and_nothing_stays_open() -> None:
    before = os.listdir("/proc/self/fd")
    assert LinuxNet().dump(NETLINK_ROUTE, get_links())
    assert os.listdir("/proc/self/fd") == before
