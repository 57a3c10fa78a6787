"""Who may do what, capability by capability, where unprivileged BPF is off."""

from __future__ import annotations

import errno
from collections.abc import Callable

from bpflens.abi.attrs import (
    EnableStats,
    LinkDetach,
    MapCreate,
    MapFreeze,
    NextId,
    ProgBindMap,
    ProgLoad,
    ProgQuery,
    TaskFdQuery,
)
from bpflens.abi.enums import AttachType as A
from bpflens.abi.enums import Cmd
from bpflens.abi.enums import MapFlag as F
from bpflens.abi.enums import MapType as T
from bpflens.abi.enums import ProgType as P
from bpflens.abi.infos import MapInfo, ProgInfo
from bpflens.errors import SyscallError
from bpflens.port.calls import MAP_IDS, XLATED, Calls
from bpflens.port.memory import Memory
from bpflens.testing.bench import TRACEPOINT, Bench, Cap
from bpflens.testing.builders import btf, code, load, map, program, u32, u64
from bpflens.testing.conformance.loading import ONE, TYPES
from bpflens.testing.conformance.suite import cases, fails, same
from bpflens.testing.hooks import Hook, id_of, update

CALLERS: dict[str, tuple[int, tuple[Cap, ...]]] = {
    "bpf": (0, (Cap.BPF,)),
    "bpf_perfmon": (0, (Cap.BPF, Cap.PERFMON)),
    "bpf_net": (0, (Cap.BPF, Cap.NET_ADMIN)),
    "net": (0, (Cap.NET_ADMIN,)),
    "perfmon": (0, (Cap.PERFMON,)),
    "sys_admin": (0, (Cap.SYS_ADMIN,)),
    "root_without": (0, ()),
    "user": (1000, ()),
    "user_bpf": (1000, (Cap.BPF,)),
    "user_sys_admin": (1000, (Cap.SYS_ADMIN,)),
}


def can(call: Callable[[], object], refusal: int = errno.EPERM) -> bool:
    """Whether the call is allowed; any other failure than this refusal is passed on."""
    try:
        call()
    except SyscallError as error:
        if error.errno == refusal:
            return False
        raise
    return True


def allowed(bench: Bench, do: Callable[[Calls], object], refusal: int = errno.EPERM) -> set[str]:
    """The callers of the table above who may do it."""
    return {
        name
        for name, (uid, caps) in CALLERS.items()
        if can(lambda: do(bench.caller(uid, caps)), refusal)  # noqa: B023
    }


ALL = set(CALLERS)
ADMINS = {"sys_admin", "user_sys_admin"}
BPF = ADMINS | {"bpf", "bpf_perfmon", "bpf_net", "user_bpf"}
NET = ADMINS | {"bpf_net"}
PERFMON = ADMINS | {"bpf_perfmon"}

MAPS: dict[T, set[str]] = dict.fromkeys(
    (
        T.HASH, T.ARRAY, T.PROG_ARRAY, T.PERF_EVENT_ARRAY, T.PERCPU_HASH, T.PERCPU_ARRAY,
        T.STACK_TRACE, T.CGROUP_ARRAY, T.LRU_HASH, T.LRU_PERCPU_HASH, T.LPM_TRIE, T.CPUMAP,
        T.CGROUP_STORAGE, T.REUSEPORT_SOCKARRAY, T.PERCPU_CGROUP_STORAGE, T.QUEUE, T.STACK,
        T.RINGBUF, T.BLOOM_FILTER, T.USER_RINGBUF, T.ARENA,
    ),
    BPF,
) | dict.fromkeys((T.DEVMAP, T.SOCKMAP, T.XSKMAP, T.SOCKHASH, T.DEVMAP_HASH), NET)  # fmt: skip


@cases(**{type.label: (type, who) for type, who in MAPS.items()})
def check_map(bench: Bench, type: T, who: set[str]) -> None:
    """Who may create a map of this type."""
    same(allowed(bench, lambda calls: map(calls, type)), who)


def check_hash_without_a_seed(bench: Bench) -> None:
    """A hash whose order can be foreseen is for CAP_SYS_ADMIN."""
    same(allowed(bench, lambda calls: map(calls, T.HASH, flags=F.ZERO_SEED)), ADMINS)


PLAIN = {P.SOCKET_FILTER, P.CGROUP_SKB, P.SK_LOOKUP, P.SYSCALL, P.SK_REUSEPORT}
TRACERS = {
    P.KPROBE, P.TRACEPOINT, P.PERF_EVENT, P.RAW_TRACEPOINT, P.RAW_TRACEPOINT_WRITABLE,
}  # fmt: skip


@cases(**{type.label: (type, attach) for type, attach in TYPES.items()})
def check_program(bench: Bench, type: P, attach: int) -> None:
    """Who may load a program of this type."""
    who = BPF if type in PLAIN else PERFMON if type in TRACERS else NET
    text = "r0 = 0; exit" if type in (P.FLOW_DISSECTOR, P.SK_REUSEPORT) else ONE
    flags = 0x10 if type == P.SYSCALL else 0

    def do(calls: Calls) -> int:
        return program(calls, text, type, attach_type=attach, flags=flags)

    same(allowed(bench, do), who)


def check_btf(bench: Bench) -> None:
    """Who may load BTF."""
    same(allowed(bench, btf), BPF)


IDS = {
    "prog": (Cmd.PROG_GET_NEXT_ID, Cmd.PROG_GET_FD_BY_ID),
    "map": (Cmd.MAP_GET_NEXT_ID, Cmd.MAP_GET_FD_BY_ID),
    "btf": (Cmd.BTF_GET_NEXT_ID, Cmd.BTF_GET_FD_BY_ID),
    "link": (Cmd.LINK_GET_NEXT_ID, Cmd.LINK_GET_FD_BY_ID),
}


@cases(**IDS)
def check_ids(bench: Bench, next_id: Cmd, fd_by_id: Cmd) -> None:
    """IDs are for CAP_SYS_ADMIN alone: to walk them and to open what they name."""
    same(allowed(bench, lambda calls: calls.next_id(next_id, 0)), ADMINS)

    def open_by_id(calls: Calls) -> None:
        fails(errno.ENOENT, calls.fd_by_id, fd_by_id, 0x7FFFFFF0)

    def refused(calls: Calls) -> bool:
        try:
            calls.fd_by_id(fd_by_id, 0x7FFFFFF0)
        except SyscallError as error:
            return error.errno == errno.EPERM
        return False

    for name, (uid, caps) in CALLERS.items():
        same((name, refused(bench.caller(uid, caps))), (name, name not in ADMINS))
    open_by_id(bench.calls)


@cases(**IDS)
def check_bad_start_before_permission(bench: Bench, next_id: Cmd, _: Cmd) -> None:
    """A start that no walk may have is EINVAL, also for who may not walk."""
    fails(errno.EINVAL, bench.caller(1000).call, next_id, NextId(start_id=0x7FFFFFFF))


def check_own_object_by_id(bench: Bench) -> None:
    """Who made an object may not open it by its id for that (EPERM)."""
    user = bench.caller(1000, [Cap.BPF])
    fd = map(user)
    id = bench.calls.info(fd, MapInfo).id
    fails(errno.EPERM, user.fd_by_id, Cmd.MAP_GET_FD_BY_ID, id)
    bench.calls.fd_by_id(Cmd.MAP_GET_FD_BY_ID, id)


def check_who_made_it(bench: Bench) -> None:
    """A program tells the user who loaded it."""
    fd = program(bench.caller(1000, [Cap.BPF]))
    same(bench.calls.info(fd, ProgInfo).created_by_uid, 1000)


def check_stats(bench: Bench) -> None:
    """Statistics are for CAP_SYS_ADMIN; that comes before their type (EPERM)."""
    same(allowed(bench, lambda calls: calls.enable_stats()), ADMINS)
    fails(errno.EPERM, bench.caller(1000).call, Cmd.ENABLE_STATS, EnableStats(type=9))


def check_task_fd_query(bench: Bench) -> None:
    """To ask what an fd of a process is is for CAP_SYS_ADMIN; flags come after (EPERM)."""
    link = bench.calls.raw_tracepoint_open(program(bench.calls, type=P.RAW_TRACEPOINT), TRACEPOINT)

    def do(calls: Calls) -> int:
        return calls.call(Cmd.TASK_FD_QUERY, TaskFdQuery(pid=bench.pid, fd=link))

    same(allowed(bench, do), ADMINS)
    fails(errno.EPERM, bench.caller(1000).call, Cmd.TASK_FD_QUERY, TaskFdQuery(flags=1))


def check_query(bench: Bench) -> None:
    """To ask what is attached needs CAP_NET_ADMIN or CAP_SYS_ADMIN; a bad tail comes after."""
    group = bench.cgroup()

    def do(calls: Calls) -> int:
        return calls.call(Cmd.PROG_QUERY, ProgQuery(target_fd=group.fd))

    same(allowed(bench, do), ADMINS | {"net", "bpf_net"})
    fails(errno.EPERM, bench.caller(1000).call, Cmd.PROG_QUERY, ProgQuery(query_flags=99))


# --- what needs no right but to hold the fd


def check_elements(bench: Bench) -> None:
    """Whoever holds a map's fd may read, write, walk and freeze it."""
    fd = map(bench.calls, T.HASH)
    user = bench.caller(1000)
    user.map_update(fd, u32(1), u64(1))
    same(user.map_lookup(fd, u32(1), 8), u64(1))
    same(user.map_next_key(fd, None, 4), u32(1))
    user.map_delete(fd, u32(1))
    user.call(Cmd.MAP_FREEZE, MapFreeze(map_fd=fd))


def check_links(bench: Bench) -> None:
    """Whoever holds a link's fd may update and detach it."""
    group = bench.cgroup()
    hook = Hook(bench.calls, group.fd, A.CGROUP_INET_INGRESS)
    one, two = (program(bench.calls, ONE, P.CGROUP_SKB) for _ in range(2))
    link = hook.link(one)
    user = bench.caller(1000)
    update(user, link, two)
    same(hook.ids(), [id_of(bench.calls, two)])
    user.call(Cmd.LINK_DETACH, LinkDetach(link_fd=link))
    same(hook.ids(), [])


def check_bind(bench: Bench) -> None:
    """Whoever holds the fds may bind a map to a program."""
    attr = ProgBindMap(prog_fd=program(bench.calls), map_fd=map(bench.calls))
    bench.caller(1000).call(Cmd.PROG_BIND_MAP, attr)


def check_tracepoint(bench: Bench) -> None:
    """Whoever holds a program's fd may attach it to a raw tracepoint."""
    prog = program(bench.calls, type=P.RAW_TRACEPOINT)
    bench.caller(1000).raw_tracepoint_open(prog, TRACEPOINT)


def check_attach_to_a_cgroup(bench: Bench) -> None:
    """A program for packets of a cgroup is attached with CAP_NET_ADMIN: else EINVAL or EPERM."""
    prog = program(bench.calls, ONE, P.CGROUP_SKB)
    who = ADMINS | {"net", "bpf_net"}

    def attach(calls: Calls) -> None:
        Hook(calls, bench.cgroup().fd, A.CGROUP_INET_INGRESS).attach(prog)

    def link(calls: Calls) -> int:
        return Hook(calls, bench.cgroup().fd, A.CGROUP_INET_INGRESS).link(prog)

    same(allowed(bench, attach, errno.EINVAL), who)
    same(allowed(bench, link), who)


# --- what is told to whom


def check_info_of_a_held_program(bench: Bench) -> None:
    """Without CAP_BPF a program's length is told as 0; ids, tag and name are told to all."""
    fd = program(bench.calls, "r1 = map_fd m; r0 = 0; exit", m=map(bench.calls), name="shown")
    whole = bench.calls.info(fd, ProgInfo)
    for name, (uid, caps) in CALLERS.items():
        told = bench.caller(uid, caps).info(fd, ProgInfo)
        same((told.id, told.tag, told.name), (whole.id, whole.tag, b"shown"))
        same((told.nr_map_ids, told.load_time), (1, whole.load_time))
        same((name, told.xlated_prog_len), (name, whole.xlated_prog_len if name in BPF else 0))
    held = bench.caller(1000)
    same(held.prog_array(fd, MAP_IDS, whole), bench.calls.prog_array(fd, MAP_IDS, whole))


def check_counts_that_are_hidden(bench: Bench) -> None:
    """Without CAP_BPF the counts of tags echo what the caller gave; others are 0."""
    fd = program(bench.calls)
    asked = ProgInfo(nr_prog_tags=7, nr_jited_ksyms=7)
    told = bench.caller(1000).fill_info(fd, asked, Memory())
    same((told.nr_prog_tags, told.nr_jited_ksyms), (7, 0))


def check_info_of_a_held_map(bench: Bench) -> None:
    """All of a map is told to whoever holds its fd."""
    fd = map(bench.calls, name="shown")
    same(bench.caller(1000).info(fd, MapInfo), bench.calls.info(fd, MapInfo))


# --- what is looked at before the rights


@cases(
    type=MapCreate(map_type=60), array_key=MapCreate(map_type=T.ARRAY, key_size=3, value_size=4),
    hash_size=MapCreate(map_type=T.HASH, key_size=4, value_size=4),
)  # fmt: skip
def check_bad_map_before_permission(bench: Bench, attr: MapCreate) -> None:
    """A map that makes no sense is EINVAL, also for who may not make one."""
    fails(errno.EINVAL, bench.caller(1000).map_create, attr)


@cases(trie=T.LPM_TRIE, ring=T.RINGBUF, cpumap=T.CPUMAP, sockmap=T.SOCKMAP)
def check_permission_before_bad_map(bench: Bench, type: T) -> None:
    """Types that look at the sizes when they allocate refuse the caller first (EPERM)."""
    fails(errno.EPERM, bench.caller(1000).map_create, MapCreate(map_type=type, key_size=77))


@cases(
    flags=(ProgLoad(prog_type=1, prog_flags=1 << 30), errno.EINVAL),
    unknown_type=(ProgLoad(prog_type=99), errno.EPERM),
    name=(ProgLoad(prog_type=1, prog_name=b"a-b"), errno.EPERM),
)  # fmt: skip
def check_order_of_a_load(bench: Bench, attr: ProgLoad, expected: int) -> None:
    """Flags come before the caller's rights, type and name after."""
    fails(expected, load, bench.caller(1000), attr, code(ONE))


def check_short_programs_only(bench: Bench) -> None:
    """Without CAP_BPF there is no program at all, whatever its length (EPERM)."""
    fails(errno.EPERM, program, bench.caller(1000), b"")


def check_pointers_stay_inside(bench: Bench) -> None:
    """Without CAP_PERFMON a program may not give a pointer away (EACCES)."""
    user = bench.caller(0, [Cap.BPF])
    fails(errno.EACCES, program, user, "r0 = r10; exit")
    program(user, ONE)


def check_order_of_btf(bench: Bench) -> None:
    """Flags of BTF come before the caller's rights (EINVAL)."""
    from bpflens.abi.attrs import BtfLoad

    fails(errno.EINVAL, bench.caller(1000).call, Cmd.BTF_LOAD, BtfLoad(btf_flags=1))
    fails(errno.EPERM, bench.caller(1000).call, Cmd.BTF_LOAD, BtfLoad(btf_size=1 << 30))


# --- what depends on who opened the file


def called(insns: bytes) -> int:
    """The imm of the call that the program begins with."""
    return int.from_bytes(insns[4:8], "little", signed=True)


def check_opener_decides_on_addresses(bench: Bench) -> None:
    """Addresses of the kernel are shown by the rights of who opened the fd, not of who asks."""
    user = bench.caller(0, [Cap.BPF])
    fd = program(user, "call ktime_get_ns; r0 = 0; exit")
    told = bench.calls.info(fd, ProgInfo)
    same(called(user.prog_array(fd, XLATED, told)), 0)
    same(called(bench.calls.prog_array(fd, XLATED, told)), 0)
    opened_by_root = bench.calls.fd_by_id(Cmd.PROG_GET_FD_BY_ID, told.id)
    assert called(user.prog_array(opened_by_root, XLATED, told)) != 0


def check_addresses_of_functions_are_hidden(bench: Bench) -> None:
    """Where its functions are is hidden likewise: the count is told, the pointer comes back 0."""
    user = bench.caller(0, [Cap.BPF])
    fd = program(user)
    mem = Memory()
    asked = ProgInfo(nr_jited_ksyms=1, jited_ksyms=mem.pin(bytearray(8)))
    told = user.fill_info(fd, asked, mem)
    same((told.nr_jited_ksyms, told.jited_ksyms), (1, 0))


def check_admin_may_not_see_addresses(bench: Bench) -> None:
    """CAP_SYS_ADMIN alone does not show them: that is CAP_SYSLOG's."""
    admin = bench.caller(0, [Cap.SYS_ADMIN])
    fd = program(admin, "call ktime_get_ns; r0 = 0; exit")
    told = admin.info(fd, ProgInfo)
    same(called(admin.prog_array(fd, XLATED, told)), 0)
    both = bench.caller(0, [Cap.SYS_ADMIN, Cap.SYSLOG])
    fd = program(both, "call ktime_get_ns; r0 = 0; exit")
    assert called(both.prog_array(fd, XLATED, told)) != 0
