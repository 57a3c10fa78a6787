"""Callers who may not see all: what they cannot look at is told by the commands."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.hostile import calls
from tests.hostile.actor import Actor
from tests.hostile.host import Host
from tests.hostile.lens import look
from tests.hostile.namespaces import keep_netns


def box(host: Host, user: bool) -> Actor:
    """An honest container, with a namespace's file, and a bpffs if it is root's: a user may mount
    none."""
    os.mkdir(f"{host.folder}/box")

    def part() -> Iterator[Any]:
        calls.mount("tmpfs", f"{host.folder}/box")
        os.mkdir(f"{host.folder}/box/bpf")
        if not user:
            calls.mount("bpf", f"{host.folder}/box/bpf")
        yield keep_netns(f"{host.folder}/box/ns")

    return host.act(part, user=user)


def test_namespaces_of_hidden_processes(host: Host) -> None:
    """A caller without CAP_SYS_PTRACE does not see into the namespaces of a process that has more
    rights, and is told so, of each."""
    actor = box(host, user=False)
    found = look("attach", "list", before=calls.lose_ptrace)
    found.untold("netns", actor.inode("net"))
    found.untold("netns", actor.told)
    pins = host.map_shown(before=calls.lose_ptrace)
    pins.untold(f"{host.folder}/box/bpf")
    assert pins.one(id=host.map_id)["pinned"] == [host.pin]


def without(code: int) -> Callable[[], None]:
    def before() -> None:
        calls.refuse_openat2(code)

    return before


@pytest.mark.parametrize(
    "code", [errno.ENOSYS, errno.EPERM], ids=lambda code: errno.errorcode[code]
)
@pytest.mark.parametrize("user", [False, True], ids=["root's container", "user's container"])
def test_openat2_is_refused(host: Host, code: int, user: bool) -> None:
    """Where seccomp refuses openat2(2), what only a mount of a container leads to is told as not
    looked at, with that reason; it is not opened in another way. What is honest is there."""
    actor = box(host, user)
    bait = f"{host.folder}/box/bpf"
    host.witness.watch(actor.path(bait), bait)
    found = host.attachments(before=without(code))
    assert "openat2" in found.untold("netns", actor.told)
    pins = host.map_shown(before=without(code))
    assert user or "openat2" in pins.untold(bait, actor.inode("mnt"))
    assert pins.one(id=host.map_id)["pinned"] == [host.pin]
    assert host.witness.opened() == []


COMMANDS = ["attach list", "overview", "orphans", "graph", "map list --parts all"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_knows_what_is_hidden(host: Host, command: str) -> None:
    """No command says that it is complete where another knows better."""
    box(host, user=False)
    assert not look(*command.split(), before=calls.lose_ptrace).complete


def test_doctor_knows_what_is_hidden(host: Host) -> None:
    """`doctor` judges by what the commands ask."""
    box(host, user=False)
    found = look("doctor", before=calls.lose_ptrace)
    assert not found.one(check="namespaces")["ok"]
    assert not found.one(check="pins")["ok"]
