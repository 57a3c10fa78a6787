"""Who may open what: the rule of the mail, and the capabilities that were shipped."""

from __future__ import annotations

import errno

import pytest

from bpflens.abi.attrs import MapCreate, ProgLoad
from bpflens.abi.enums import Cmd, MapType, ProgType
from bpflens.abi.infos import ProgInfo
from bpflens.engine import Cap, Engine
from bpflens.errors import SyscallError
from bpflens.insn import encode
from bpflens.insn.build import R0, exit_, mov
from bpflens.port.calls import Calls

CODE = encode([mov(R0, 0), exit_()])
FILTER = ProgType.SOCKET_FILTER


def refused(code: int, call: object, *arguments: object) -> None:
    with pytest.raises(SyscallError) as caught:
        call(*arguments)  # type: ignore[operator]
    assert caught.value.errno == code


def test_a_users_program_is_open_by_id_to_that_user_and_root_only() -> None:
    engine = Engine()
    alice, alice_too, bob, root = (Calls(engine.task(uid=uid)) for uid in (1000, 1000, 1001, 0))
    alice.prog_load(ProgLoad(prog_type=FILTER), CODE)
    assert bob.next_id(Cmd.PROG_GET_NEXT_ID, 0) == 1
    for calls in (alice, alice_too, root):
        assert calls.info(calls.fd_by_id(Cmd.PROG_GET_FD_BY_ID, 1), ProgInfo).created_by_uid == 1000
    refused(errno.EPERM, bob.fd_by_id, Cmd.PROG_GET_FD_BY_ID, 1)
    refused(errno.ENOENT, bob.fd_by_id, Cmd.PROG_GET_FD_BY_ID, 2)


def test_who_was_handed_the_fd_holds_the_program_but_is_told_less() -> None:
    engine = Engine()
    alice, bob = engine.task(uid=1000), engine.task(uid=1001)
    fd = Calls(alice).prog_load(ProgLoad(prog_type=FILTER), CODE)
    handed = alice.send(fd, bob)
    alice.exit()
    info = Calls(bob).info(handed, ProgInfo)
    assert (info.id, info.xlated_prog_len) == (1, 0)
    bob.exit()
    assert len(engine.ids["prog"]) == 0


@pytest.mark.parametrize(
    ("uid", "caps", "code"),
    [
        (1000, [], 0),
        (0, [], 0),  # the directory is root's
        (1001, [], errno.EPERM),
        (1001, [Cap.DAC_OVERRIDE], errno.EPERM),
        (1001, [Cap.FOWNER], 0),
    ],
)
def test_who_may_unlink_the_pin_of_a_user(uid: int, caps: list[int], code: int) -> None:
    engine = Engine()
    alice = Calls(engine.task(uid=1000))
    alice.obj_pin(alice.prog_load(ProgLoad(prog_type=FILTER), CODE), "/sys/fs/bpf/p")
    task = engine.task(uid=uid, caps=caps)
    if code:
        with pytest.raises(OSError, match="not permitted") as caught:
            task.unlink("/sys/fs/bpf/p")
        assert caught.value.errno == code
    else:
        task.unlink("/sys/fs/bpf/p")
    assert len(task.doors().host.listdir("/sys/fs/bpf")) == bool(code)


@pytest.mark.parametrize(
    ("caps", "walks", "loads_xdp", "loads_filter"),
    [
        ([Cap.SYS_ADMIN], True, True, True),
        ([Cap.BPF], False, False, True),
        ([Cap.BPF, Cap.NET_ADMIN], False, True, True),
        ([Cap.NET_ADMIN], False, False, False),
        ([], False, False, False),
    ],
)
def test_under_linux_capabilities_decide(
    caps: list[int], walks: bool, loads_xdp: bool, loads_filter: bool
) -> None:
    engine = Engine(policy="linux")
    Calls(engine.task()).prog_load(ProgLoad(prog_type=FILTER), CODE)
    calls = Calls(engine.task(uid=0, caps=caps))
    for allowed, call, arguments in (
        (walks, calls.next_id, (Cmd.PROG_GET_NEXT_ID, 0)),
        (walks, calls.fd_by_id, (Cmd.PROG_GET_FD_BY_ID, 1)),
        (loads_xdp, calls.prog_load, (ProgLoad(prog_type=ProgType.XDP), CODE)),
        (loads_filter, calls.prog_load, (ProgLoad(prog_type=FILTER), CODE)),
    ):
        if allowed:
            call(*arguments)
        else:
            refused(errno.EPERM, call, *arguments)


def test_under_linux_the_maker_alone_has_no_right_by_id() -> None:
    engine = Engine(policy="linux")
    alice = Calls(engine.task(uid=1000, caps=[Cap.BPF]))
    attr = MapCreate(map_type=MapType.ARRAY, key_size=4, value_size=4, max_entries=1)
    alice.map_create(attr)
    refused(errno.EPERM, alice.fd_by_id, Cmd.MAP_GET_FD_BY_ID, 1)
