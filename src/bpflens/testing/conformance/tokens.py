"""Tokens: rights that a bpffs hands on to a user namespace. Since: 6.9."""

from __future__ import annotations

import errno

from bpflens.abi.attrs import (
    BtfById,
    BtfLoad,
    MapCreate,
    NextId,
    ObjPath,
    ProgLoad,
    TokenCreate,
)
from bpflens.abi.enums import AttachType as A
from bpflens.abi.enums import Cmd, MapFlag
from bpflens.abi.enums import MapType as T
from bpflens.abi.enums import ProgType as P
from bpflens.abi.infos import ProgInfo, TokenInfo
from bpflens.port.calls import Calls
from bpflens.port.memory import Memory
from bpflens.testing.bench import Bench, Cap, Guest
from bpflens.testing.builders import RETURN_0, code, load, map, types
from bpflens.testing.conformance.suite import CLOSED, cases, fails, same

TOKEN_FD = int(MapFlag.TOKEN_FD)
ANY = (1 << 64) - 1


def bits(*values: int) -> int:
    """What hands on these values of an enum."""
    return sum(1 << value for value in values)


def allows(cmds: int, maps: int, progs: int, attachs: int) -> TokenInfo:
    """What a bpffs hands on."""
    return TokenInfo(
        allowed_cmds=cmds, allowed_maps=maps, allowed_progs=progs, allowed_attachs=attachs
    )


ALL = allows(ANY, ANY, ANY, ANY)
SOME = allows(
    bits(Cmd.MAP_CREATE, Cmd.PROG_LOAD), bits(T.ARRAY, T.LRU_HASH), bits(P.SOCKET_FILTER, P.KPROBE),
    bits(A.CGROUP_INET_INGRESS),
)  # fmt: skip


def token(guest: Guest, bpffs: int | None = None, flags: int = 0) -> int:
    """TOKEN_CREATE."""
    fd = guest.bpffs if bpffs is None else bpffs
    return guest.calls.call(Cmd.TOKEN_CREATE, TokenCreate(bpffs_fd=fd, flags=flags))


def map_by(calls: Calls, fd: int, type: T, **fields: int) -> int:
    """MAP_CREATE with a token."""
    attr = MapCreate(map_type=type, key_size=4, value_size=8, max_entries=4, map_flags=TOKEN_FD)
    attr.map_token_fd = fd
    for field, value in fields.items():
        setattr(attr, field, value)
    return calls.map_create(attr)


def program_by(calls: Calls, fd: int, type: P, text: str = RETURN_0, attach: int = 0) -> int:
    """PROG_LOAD with a token."""
    attr = ProgLoad(prog_type=type, prog_flags=TOKEN_FD, prog_token_fd=fd)
    attr.expected_attach_type = attach
    return load(calls, attr, code(text))


def btf_by(calls: Calls, fd: int) -> int:
    """BTF_LOAD with a token."""
    mem = Memory()
    data = bytearray(types().data)
    attr = BtfLoad(btf=mem.pin(data), btf_size=len(data), btf_flags=TOKEN_FD, btf_token_fd=fd)
    return calls.call(Cmd.BTF_LOAD, attr, mem)


def check_create(bench: Bench) -> None:
    """Root of a user namespace makes a token of the bpffs that was made for it."""

    def do(guest: Guest) -> None:
        assert token(guest) > 0

    bench.as_guest(do, SOME)


@cases(some=SOME, all=ALL)
def check_info(bench: Bench, allowed: TokenInfo) -> None:
    """A token tells what it allows."""

    def do(guest: Guest) -> None:
        told = guest.calls.info(token(guest), TokenInfo)
        same(told.encode(), allowed.encode())

    bench.as_guest(do, allowed)


def check_fdinfo(bench: Bench) -> None:
    """So does fdinfo, in hex or by `any`."""

    def do(guest: Guest) -> None:
        lines = guest.host.fdinfo(token(guest)).decode().splitlines()
        same(
            [line.partition("\t")[2] for line in lines if line.startswith("allowed_")],
            ["any", f"{SOME.allowed_maps:#x}", "0x0", f"{SOME.allowed_attachs:#x}"],
        )

    bench.as_guest(do, allows(ANY, SOME.allowed_maps, 0, SOME.allowed_attachs))


def check_nothing_is_handed_on(bench: Bench) -> None:
    """A bpffs that hands on nothing gives no token (ENOENT)."""
    bench.as_guest(lambda guest: fails(errno.ENOENT, token, guest))


def check_create_arguments(bench: Bench) -> None:
    """Flags are EINVAL, a closed fd EBADF, another file EINVAL; a bpffs of others is EPERM."""
    others, file = bench.folder(bench.bpffs()), bench.plain_file()

    def do(guest: Guest) -> None:
        fails(errno.EINVAL, token, guest, None, 1)
        fails(errno.EBADF, token, guest, CLOSED)
        fails(errno.EINVAL, token, guest, file)
        fails(errno.EPERM, token, guest, others)

    bench.as_guest(do, SOME)


def check_first_user_namespace(bench: Bench) -> None:
    """In the first user namespace there are none: EOPNOTSUPP with CAP_BPF, EPERM without."""
    attr = TokenCreate(bpffs_fd=bench.folder(bench.bpffs()))
    fails(errno.EOPNOTSUPP, bench.calls.call, Cmd.TOKEN_CREATE, attr)
    for caps in ((), (Cap.SYS_ADMIN,), (Cap.NET_ADMIN,)):
        fails(errno.EPERM, bench.caller(0, caps).call, Cmd.TOKEN_CREATE, attr)
    fails(errno.EOPNOTSUPP, bench.caller(1000, (Cap.BPF,)).call, Cmd.TOKEN_CREATE, attr)


def check_maps(bench: Bench) -> None:
    """With a token maps of the types that it allows are made, without one none (EPERM)."""

    def do(guest: Guest) -> None:
        calls, fd = guest.calls, token(guest)
        for type in (T.ARRAY, T.LRU_HASH):
            fails(errno.EPERM, map, calls, type)
            map_by(calls, fd, type)
        fails(errno.EPERM, map_by, calls, fd, T.HASH)
        fails(errno.EPERM, map_by, calls, fd, T.DEVMAP, value_size=4)

    bench.as_guest(do, SOME)


def check_maps_of_every_type(bench: Bench) -> None:
    """A token that allows all stands for CAP_BPF and CAP_NET_ADMIN, not for CAP_SYS_ADMIN."""

    def do(guest: Guest) -> None:
        calls, fd = guest.calls, token(guest)
        for type in (T.HASH, T.QUEUE, T.DEVMAP, T.SOCKMAP):
            key, value = (0 if type == T.QUEUE else 4), (8 if type == T.HASH else 4)
            map_by(calls, fd, type, key_size=key, value_size=value)
        seedless = TOKEN_FD | MapFlag.ZERO_SEED
        fails(errno.EPERM, map_by, calls, fd, T.HASH, map_flags=seedless)

    bench.as_guest(do, ALL)


def check_programs(bench: Bench) -> None:
    """With a token programs of the types and attach types that it allows are loaded."""

    def do(guest: Guest) -> None:
        calls, fd = guest.calls, token(guest)
        program_by(calls, fd, P.SOCKET_FILTER)
        program_by(calls, fd, P.KPROBE)
        program_by(calls, fd, P.SOCKET_FILTER, "r0 = r10; exit")  # as with CAP_PERFMON
        fails(errno.EPERM, program_by, calls, fd, P.XDP)
        fails(errno.EPERM, program_by, calls, fd, P.SOCKET_FILTER, RETURN_0, A.XDP)
        fails(errno.EPERM, program_by, calls, fd, P.CGROUP_SKB)
        attr = ProgLoad(prog_type=P.SOCKET_FILTER)
        fails(errno.EPERM, load, calls, attr, code(RETURN_0))

    bench.as_guest(do, SOME)


def check_types(bench: Bench) -> None:
    """BTF is loaded with a token that allows the command."""

    def refused(guest: Guest) -> None:
        fails(errno.EPERM, btf_by, guest.calls, token(guest))

    def do(guest: Guest) -> None:
        btf_by(guest.calls, token(guest))
        fails(errno.EPERM, guest.calls.btf_load, types().data)

    bench.as_guest(refused, SOME)
    bench.as_guest(do, ALL)


def check_types_by_id(bench: Bench) -> None:
    """BTF is opened by its ID with a token that allows the command; nothing else is."""

    def do(guest: Guest) -> None:
        calls = guest.calls
        attr = BtfById(btf_id=1, open_flags=TOKEN_FD, fd_by_id_token_fd=token(guest))
        calls.call(Cmd.BTF_GET_FD_BY_ID, attr)
        fails(errno.EPERM, calls.call, Cmd.BTF_GET_FD_BY_ID, BtfById(btf_id=1))

    def refused(guest: Guest) -> None:
        attr = BtfById(btf_id=1, open_flags=TOKEN_FD, fd_by_id_token_fd=token(guest))
        fails(errno.EPERM, guest.calls.call, Cmd.BTF_GET_FD_BY_ID, attr)

    bench.as_guest(do, ALL)
    bench.as_guest(refused, SOME)


def check_what_stays_forbidden(bench: Bench) -> None:
    """IDs are not walked with a token, and of its programs the lengths are told as 0."""

    def do(guest: Guest) -> None:
        calls, fd = guest.calls, token(guest)
        for cmd in (Cmd.PROG_GET_NEXT_ID, Cmd.MAP_GET_NEXT_ID, Cmd.BTF_GET_NEXT_ID):
            fails(errno.EPERM, calls.call, cmd, NextId())
        told = calls.info(program_by(calls, fd, P.SOCKET_FILTER), ProgInfo)
        same((told.id > 0, told.xlated_prog_len, told.verified_insns), (True, 0, 2))

    bench.as_guest(do, ALL)


def check_token_is_no_object(bench: Bench) -> None:
    """A token cannot be pinned, and other files are no tokens (EINVAL)."""
    file = bench.plain_file()

    def do(guest: Guest) -> None:
        calls, fd = guest.calls, token(guest)
        mem = Memory()
        attr = ObjPath(pathname=mem.pin(bytearray(b"/tmp/t\0")), bpf_fd=fd)
        fails(errno.EINVAL, calls.call, Cmd.OBJ_PIN, attr, mem)
        for wrong, expected in ((file, errno.EINVAL), (CLOSED, errno.EBADF)):
            fails(expected, map_by, calls, wrong, T.ARRAY)
            fails(expected, program_by, calls, wrong, P.SOCKET_FILTER)
            fails(expected, btf_by, calls, wrong)

    bench.as_guest(do, ALL)
