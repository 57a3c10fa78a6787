"""The host and netlink doors of the engine."""

from __future__ import annotations

import errno

import pytest

from bpflens.abi.attrs import MapCreate, ProgLoad
from bpflens.abi.enums import MapType, ProgType
from bpflens.abi.netlink import (
    IFINFO,
    NETLINK_ROUTE,
    IfLa,
    IfLaXdp,
    attributes,
    get_links,
    message,
)
from bpflens.engine import Engine
from bpflens.engine.net import SKB
from bpflens.engine.netlink import nla
from bpflens.insn import encode
from bpflens.insn.build import R0, exit_, mov
from bpflens.port.calls import Calls

CODE = encode([mov(R0, 0), exit_()])
SETLINK = 19


def test_fdinfo_of_a_map_is_what_linux_prints() -> None:
    task = Engine(cpus=2).task()
    attr = MapCreate(map_type=MapType.HASH, key_size=4, value_size=8, max_entries=10)
    fd = Calls(task).map_create(attr)
    assert task.doors().host.fdinfo(fd).decode().splitlines() == [
        "pos:\t0", "flags:\t02000002", "mnt_id:\t15", "ino:\t1057", "map_type:\t1",
        "key_size:\t4", "value_size:\t8", "max_entries:\t10", "map_flags:\t0x0",
        "map_extra:\t0x0", "memlock:\t1936", "map_id:\t1", "frozen:\t0",
    ]  # fmt: skip


def test_the_files_of_a_task() -> None:
    engine = Engine(cpus=4)
    task = engine.task(uid=1000, comm="watcher")
    host = task.doors().host
    assert host.read("/sys/devices/system/cpu/possible") == b"0-3\n"
    assert b"Uid:\t1000\t1000" in host.read("/proc/self/status")
    assert b"CapEff:\t0000000000000000" in host.read("/proc/self/status")
    assert b" - bpf bpf " in host.read("/proc/self/mountinfo")
    assert host.read("/proc/sys/kernel/unprivileged_bpf_disabled") == b"2\n"
    assert host.read("/proc/sys/kernel/osrelease") == b"6.18.0\n"
    assert host.read("/proc/kallsyms").startswith(b"0000000000000000 T __bpf_call_base\n")
    assert host.readlink("/proc/self/ns/net").startswith("net:[")
    with pytest.raises(OSError, match="No such file"):
        host.read("/etc/passwd")


def test_another_users_files_are_closed() -> None:
    engine = Engine()
    other = engine.task(uid=7)
    with pytest.raises(OSError, match="Permission denied") as caught:
        engine.task(uid=1000).doors().host.listdir(f"/proc/{other.pid}/fd")
    assert caught.value.errno == errno.EACCES


def test_a_pin_cannot_be_read_as_a_file() -> None:
    task = Engine().task()
    calls = Calls(task)
    calls.obj_pin(calls.prog_load(ProgLoad(prog_type=ProgType.XDP), CODE), "/sys/fs/bpf/p")
    with pytest.raises(OSError, match="Input/output") as caught:
        task.doors().host.read("/sys/fs/bpf/p")
    assert caught.value.errno == errno.EIO


def test_a_link_dump_tells_the_program_of_a_device() -> None:
    task = Engine().task()
    Calls(task).prog_load(ProgLoad(prog_type=ProgType.XDP), CODE)
    device = task.netns.add("v0")
    device.xdp_attach(task.engine.ids["prog"].get(1), SKB)
    loopback, told = task.doors().net.dump(NETLINK_ROUTE, get_links())
    found = attributes(told[IFINFO.size :])
    assert found[IfLa.IFNAME] == b"v0\0"
    # rtnl_xdp_fill(): the mode's own program first, then how it is attached, then the program
    assert found[IfLa.XDP].hex() == "0800060001000000" + "0500020002000000" + "0800040001000000"
    assert attributes(attributes(loopback[IFINFO.size :])[IfLa.XDP]) == {IfLaXdp.ATTACHED: b"\0"}


def test_a_program_is_put_on_a_device_by_netlink() -> None:
    task = Engine().task()
    fd = Calls(task).prog_load(ProgLoad(prog_type=ProgType.XDP), CODE)
    device = task.netns.add("v0")

    def ask(fd: int, flags: int = 0) -> None:
        inner = nla(IfLaXdp.FD, fd.to_bytes(4, "little", signed=True))
        inner += nla(IfLaXdp.FLAGS, flags.to_bytes(4, "little"))
        body = IFINFO.pack(0, 0, device.index, 0, 0) + nla(IfLa.XDP, inner)
        task.doors().net.dump(NETLINK_ROUTE, message(SETLINK, 1, body))

    ask(fd)
    assert [prog.id for prog, _link in device.xdp.values()] == [1]
    with pytest.raises(OSError, match="exists"):
        ask(fd, SKB)  # the other mode is in use
    with pytest.raises(OSError, match="Bad file"):
        ask(99)
    ask(-1)
    assert not device.xdp
