"""Probes, functions, tables and tokens: what only the engine's world can say of them."""

from __future__ import annotations

import errno

import pytest

from bpflens.abi.attrs import LinkCreate, MapCreate, TokenCreate
from bpflens.abi.enums import AttachType as A
from bpflens.abi.enums import Cmd, MapFlag
from bpflens.abi.enums import MapType as T
from bpflens.abi.enums import ProgType as P
from bpflens.abi.infos import KprobeMultiLinkInfo, TokenInfo, UprobeMultiLinkInfo
from bpflens.btf.build import BtfBuilder
from bpflens.engine import Engine
from bpflens.engine.creds import Creds, UserNs
from bpflens.engine.net import Socket
from bpflens.errors import SyscallError
from bpflens.port.calls import Calls
from bpflens.testing.builders import btf, map, program, u32
from bpflens.testing.hooks import Hook, link_functions, link_places

FUNCTION = "tcp_v4_connect"


def multi(calls: Calls, attach: A = A.TRACE_KPROBE_MULTI) -> int:
    return program(calls, type=P.KPROBE, attach_type=attach)


def failure(call: object, *arguments: object, **named: object) -> int | None:
    with pytest.raises(SyscallError) as caught:
        call(*arguments, **named)  # type: ignore[operator]
    return caught.value.errno


def test_a_function_is_where_kallsyms_says() -> None:
    task = Engine().task()
    calls = Calls(task)
    link_functions(calls, multi(calls), [FUNCTION])
    lines = task.doors().host.read("/proc/kallsyms").decode().splitlines()
    address = next(int(line.split()[0], 16) for line in lines if line.endswith(f" {FUNCTION}"))
    again = link_functions(calls, multi(calls), None, addresses=[address])
    assert calls.info(again, KprobeMultiLinkInfo).count == 1
    assert f"\t {FUNCTION}+0x0" in task.doors().host.fdinfo(again).decode()


def test_functions_can_be_added() -> None:
    engine = Engine()
    calls = Calls(engine.task())
    assert failure(link_functions, calls, multi(calls), ["my_driver_poll"]) == errno.ESRCH
    engine.symbols.names.append("my_driver_poll")
    link_functions(calls, multi(calls), ["my_driver_poll"])


@pytest.mark.parametrize("option", ["FPROBE", "UPROBES"])
def test_a_kernel_without_such_probes(option: str) -> None:
    engine = Engine(without={option})
    engine.root.file("/usr/bin/prog", bytes(100))
    calls = Calls(engine.task())
    if option == "FPROBE":
        assert failure(link_functions, calls, multi(calls), [FUNCTION]) == errno.EOPNOTSUPP
    else:
        prog = multi(calls, A.TRACE_UPROBE_MULTI)
        assert failure(link_places, calls, prog, "/usr/bin/prog", [8]) == errno.EOPNOTSUPP


def test_a_kernel_without_netkit() -> None:
    engine = Engine(without={"NETKIT"})
    device = engine.netns.add_netkit("nk0")
    calls = Calls(engine.task())
    prog = program(calls, type=P.SCHED_CLS)
    assert failure(Hook(calls, device.index, A.NETKIT_PRIMARY).attach, prog) == errno.EINVAL


def test_probes_in_a_file_cost_no_id_when_they_cannot_be() -> None:
    engine = Engine()
    engine.root.file("/usr/bin/prog", bytes(100))
    task = engine.task()
    calls = Calls(task)
    prog = multi(calls, A.TRACE_UPROBE_MULTI)
    first = link_places(calls, prog, "/usr/bin/prog", [8])
    assert failure(link_places, calls, prog, "/usr/bin/prog", [101]) == errno.EINVAL
    second = link_places(calls, prog, "/usr/bin/prog", [16])
    ids = [calls.info(fd, UprobeMultiLinkInfo).id for fd in (first, second)]
    assert ids == [1, 2]
    assert task.doors().host.read("/usr/bin/prog") == bytes(100)


def test_a_link_that_needs_a_file_too_many_leaves_no_probe() -> None:
    engine = Engine()
    file = engine.root.file("/usr/bin/prog", bytes(100))
    task = engine.task(nofile=4)
    calls = Calls(task)
    prog = multi(calls, A.TRACE_UPROBE_MULTI)
    assert failure(link_places, calls, prog, "/usr/bin/prog", [8]) == errno.EMFILE
    assert file.probes == []


def test_sockets_of_a_group_share_its_program() -> None:
    task = Engine().task()
    calls = Calls(task)
    first = Socket(1, reuseport=True)
    fds = [task.add(first), task.add(Socket(2, beside=first))]
    prog = program(calls, type=P.SK_REUSEPORT)
    first.attach_reuseport(task.engine.ids["prog"].objects[1])
    task.close(prog)
    task.close(fds[0])
    assert list(task.engine.ids["prog"].objects) == [1]
    task.close(fds[1])
    assert list(task.engine.ids["prog"].objects) == []


def test_capabilities_count_below_the_user_namespace_that_they_are_of() -> None:
    upper = UserNs(owner=1000)
    lower = UserNs(owner=2000, parent=upper)
    root, user = Creds(0), Creds(1000)
    guest = Creds(1000, caps=[39], userns=upper)
    assert root.has_in(upper, 39)
    assert root.has_in(lower, 39)
    assert user.has_in(upper, 39)
    assert not user.has(39)
    assert not guest.has(39)
    assert guest.has_in(upper, 39)
    assert guest.has_in(lower, 39)
    assert not guest.has_in(upper, 12)
    assert not Creds(2000, caps=[39], userns=lower).has_in(upper, 39)


def test_a_token_makes_what_its_bpffs_hands_on() -> None:
    engine = Engine(policy="linux")
    task = engine.task(uid=1000)
    bpffs = engine.mount_bpffs("/box")
    bpffs.userns = task.unshare_user()
    bpffs.delegated = TokenInfo(allowed_cmds=1 << Cmd.MAP_CREATE, allowed_maps=1 << T.HASH)
    calls = Calls(task)
    token = calls.call(Cmd.TOKEN_CREATE, TokenCreate(bpffs_fd=task.open("/box")))
    assert failure(map, calls, T.HASH) == errno.EPERM
    attr = MapCreate(
        map_type=T.HASH, key_size=4, value_size=4, max_entries=1, map_flags=MapFlag.TOKEN_FD,
        map_token_fd=token,
    )  # fmt: skip
    calls.map_create(attr)
    attr.map_type = T.ARRAY
    assert failure(calls.map_create, attr) == errno.EPERM


def test_a_table_that_is_no_subsystems_of_ours() -> None:
    made = BtfBuilder()
    word = made.add_int("unsigned int", 4)
    common = made.add_struct("bpf_struct_ops_common_value", 8, [("a", word, 0), ("b", word, 32)])
    table = made.add_struct("sched_ext_ops", 8, [("flags", word, 0), ("more", word, 32)])
    parts = [("common", common, 0), ("data", table, 64)]
    value = made.add_struct("bpf_struct_ops_sched_ext_ops", 16, parts)
    calls = Calls(Engine(vmlinux=made.build()).task())
    attr = MapCreate(
        map_type=T.STRUCT_OPS, key_size=4, value_size=16, max_entries=1, btf_fd=btf(calls),
        btf_vmlinux_value_type_id=value, map_flags=MapFlag.LINK,
    )  # fmt: skip
    fd = calls.map_create(attr)
    assert failure(calls.map_update, fd, u32(0), bytes(16)) == errno.EOPNOTSUPP
    link = LinkCreate(prog_fd=fd, attach_type=A.STRUCT_OPS)
    assert failure(calls.link_create, link) == errno.EINVAL
