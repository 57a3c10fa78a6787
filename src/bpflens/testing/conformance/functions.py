"""Programs at functions of the kernel and of other programs, and at LSM hooks."""

from __future__ import annotations

import errno

from bpflens.abi.attrs import LinkCreateTracing, ProgLoad, ProgQuery, RawTracepointOpen
from bpflens.abi.enums import AttachType as A
from bpflens.abi.enums import Cmd, LinkType
from bpflens.abi.enums import MapType as T
from bpflens.abi.enums import ProgType as P
from bpflens.abi.infos import CgroupLinkInfo, ProgInfo, TracingLinkInfo
from bpflens.btf.build import BtfBuilder
from bpflens.btf.types import Int
from bpflens.port.calls import Calls
from bpflens.port.memory import Memory
from bpflens.testing.bench import Bench, eventually
from bpflens.testing.builders import RETURN_0, btf, code, load, map, program, u32
from bpflens.testing.conformance.suite import CLOSED, cases, fails, same
from bpflens.testing.hooks import Hook, detach_link, id_of, update
from bpflens.testing.kernel_types import VMLINUX, function_id, traced_program, unless_refused

FUNCTION, SECURITY = "vfs_unlink", "security_file_open"
HOOK, BIND = "bpf_lsm_file_open", "bpf_lsm_socket_bind"
PLACES = {
    "fentry": (FUNCTION, A.TRACE_FENTRY),
    "fexit": (FUNCTION, A.TRACE_FEXIT),
    "fmod_ret": (SECURITY, A.MODIFY_RETURN),
    "lsm": (HOOK, A.LSM_MAC),
}


def open_(calls: Calls, prog: int, cookie: int = 0) -> int:
    """RAW_TRACEPOINT_OPEN without a name: where the program was loaded for."""
    attr = RawTracepointOpen(prog_fd=prog, cookie=cookie)
    return calls.call(Cmd.RAW_TRACEPOINT_OPEN, attr)


def link(calls: Calls, prog: int, attach: int, **fields: int) -> int:
    """The same by LINK_CREATE."""
    return calls.link_create(LinkCreateTracing(prog_fd=prog, attach_type=attach, **fields))


@cases(**PLACES)
def check_at_a_function(bench: Bench, function: str, attach: A) -> None:
    """A link tells how it is attached, and the function by the kernel's BTF and its type there."""
    calls = bench.calls
    prog = traced_program(calls, function, attach)
    for by_create in (False, True):
        made = link(calls, prog, attach) if by_create else open_(calls, prog)
        told = calls.info(made, TracingLinkInfo)
        same((told.type, told.prog_id), (LinkType.TRACING, id_of(calls, prog)))
        same((told.attach_type, told.target_obj_id), (attach, VMLINUX))
        same(told.target_btf_id, function_id(calls, function))
        calls.close(made)


def check_function_in_fdinfo(bench: Bench) -> None:
    """fdinfo tells the function by the same numbers."""
    prog = traced_program(bench.calls, FUNCTION, A.TRACE_FENTRY)
    lines = bench.fdinfo(open_(bench.calls, prog))
    words = [lines.get(key) for key in ("link_type", "target_obj_id", "target_btf_id")]
    same(words, ["tracing", str(VMLINUX), str(function_id(bench.calls, FUNCTION))])


def check_cookie(bench: Bench) -> None:
    """A link at a function has a cookie, and tells it."""
    prog = traced_program(bench.calls, FUNCTION, A.TRACE_FENTRY)
    made = link(bench.calls, prog, A.TRACE_FENTRY, cookie=1 << 40)
    same(bench.calls.info(made, TracingLinkInfo).cookie, 1 << 40)


def check_program_tells_its_target(calls: Calls) -> None:
    """The program tells which function it is for."""
    told = calls.info(traced_program(calls, FUNCTION, A.TRACE_FENTRY), ProgInfo)
    same((told.attach_btf_obj_id, told.attach_btf_id), (VMLINUX, function_id(calls, FUNCTION)))


def check_once(calls: Calls) -> None:
    """A program is at its function once (EBUSY), several are beside each other."""
    one, two = (traced_program(calls, FUNCTION, A.TRACE_FENTRY) for _ in range(2))
    made = open_(calls, one)
    fails(errno.EBUSY, open_, calls, one)
    open_(calls, two)
    calls.close(made)
    open_(calls, one)


def check_stays(calls: Calls) -> None:
    """A link at a function can neither be detached (EOPNOTSUPP) nor updated (EINVAL)."""
    prog = traced_program(calls, FUNCTION, A.TRACE_FENTRY)
    made = open_(calls, prog)
    fails(errno.EOPNOTSUPP, detach_link, calls, made)
    fails(errno.EINVAL, update, calls, made, prog)


def check_arguments(calls: Calls) -> None:
    """No name, no other way to attach, and no other target than it was loaded for (EINVAL)."""
    prog = traced_program(calls, FUNCTION, A.TRACE_FENTRY)
    fails(errno.EINVAL, calls.raw_tracepoint_open, prog, "vfs_unlink")
    fails(errno.EINVAL, link, calls, prog, A.TRACE_FEXIT)
    fails(errno.EINVAL, link, calls, prog, A.TRACE_FENTRY, target_fd=prog)
    fails(errno.EINVAL, link, calls, prog, A.TRACE_FENTRY, target_btf_id=1)
    fails(errno.EINVAL, link, calls, prog, A.TRACE_FENTRY, target_fd=prog, target_btf_id=1)


def check_program_for_no_function(calls: Calls) -> None:
    """A type that is no function, or no hook of LSM, has no program (EINVAL)."""
    traced_program(calls, FUNCTION, A.TRACE_FENTRY)
    wrong = (
        (P.TRACING, A.TRACE_FENTRY, 0), (P.TRACING, A.TRACE_FENTRY, 1),
        (P.TRACING, A.TRACE_FENTRY, 0x7FFFFFFF), (P.TRACING, A.XDP, function_id(calls, FUNCTION)),
        (P.LSM, A.LSM_MAC, function_id(calls, FUNCTION)),
    )  # fmt: skip
    for type, attach, id in wrong:
        attr = ProgLoad(prog_type=type, expected_attach_type=attach, attach_btf_id=id)
        fails(errno.EINVAL, load, calls, attr, code(RETURN_0))


def check_hook_needs_the_license(calls: Calls) -> None:
    """Programs at LSM hooks are under the GPL (EINVAL)."""
    traced_program(calls, HOOK, A.LSM_MAC)
    attr = ProgLoad(
        prog_type=P.LSM, expected_attach_type=A.LSM_MAC, attach_btf_id=function_id(calls, HOOK)
    )
    fails(errno.EINVAL, load, calls, attr, code(RETURN_0), "MIT")


# --- LSM hooks at cgroups


def told(bench: Bench, group: int, room: int = 8) -> tuple[list[int], list[int]]:
    """What PROG_QUERY tells of the programs at all hooks of a cgroup: IDs and flags."""
    mem = Memory()
    ids, flags = bytearray(4 * room), bytearray(4 * room)
    attr = ProgQuery(target_fd=group, attach_type=A.LSM_CGROUP, prog_cnt=room)
    attr.prog_ids, attr.prog_attach_flags = mem.pin(ids), mem.pin(flags)
    bench.calls.call(Cmd.PROG_QUERY, attr, mem)
    count = 4 * attr.prog_cnt
    return list(memoryview(ids)[:count].cast("I")), list(memoryview(flags)[:count].cast("I"))


def check_hook_at_a_cgroup(bench: Bench) -> None:
    """A link of a program for an LSM hook tells its cgroup, like that of any other."""
    calls, group = bench.calls, bench.cgroup()
    prog = traced_program(calls, HOOK, A.LSM_CGROUP)
    held = Hook(calls, group.fd, A.LSM_CGROUP).link(prog)
    shown = calls.info(held, CgroupLinkInfo)
    same((shown.type, shown.cgroup_id, shown.attach_type), (LinkType.CGROUP, group.id, 43))
    same(told(bench, group.fd), ([id_of(calls, prog)], [2]))
    detach_link(calls, held)
    same(told(bench, group.fd), ([], []))


def check_hooks_at_a_cgroup(bench: Bench) -> None:
    """Each LSM hook is shared as its programs want; the query tells of all, with flags."""
    calls, group = bench.calls, bench.cgroup()
    it = Hook(calls, group.fd, A.LSM_CGROUP)
    one, two, three = (traced_program(calls, name, A.LSM_CGROUP) for name in (HOOK, BIND, BIND))
    it.attach(one, 1)
    it.attach(two, 2)
    it.attach(three, 2)
    ids = [id_of(calls, prog) for prog in (one, two, three)]
    same(told(bench, group.fd), (ids, [1, 2, 2]))
    same(it.query(0).total, 3)
    same(it.query(8).code, errno.EINVAL)
    fails(errno.EPERM, it.attach, traced_program(calls, HOOK, A.LSM_CGROUP), 2)
    fails(errno.ENOENT, it.detach, traced_program(calls, BIND, A.LSM_CGROUP))
    it.detach(two)
    it.detach(one)
    same(told(bench, group.fd), (ids[2:], [2]))


def check_hook_of_another_kind(bench: Bench) -> None:
    """A program for the hook of all is not for cgroups, nor the other way round (EINVAL)."""
    calls, group = bench.calls, bench.cgroup()
    prog = traced_program(calls, HOOK, A.LSM_MAC)
    fails(errno.EINVAL, Hook(calls, group.fd, A.LSM_CGROUP).attach, prog)
    fails(errno.EINVAL, Hook(calls, group.fd, A.LSM_CGROUP).link, prog)
    fails(errno.EINVAL, Hook(calls, group.fd, A.LSM_MAC).attach, prog)
    fails(errno.EINVAL, open_, calls, traced_program(calls, HOOK, A.LSM_CGROUP))


# --- functions of other programs


def target(calls: Calls) -> tuple[int, int]:
    """A program of XDP with types, and its function's type."""
    made = BtfBuilder()
    number = made.add_int("int", 4, Int.SIGNED)
    context = made.add_ptr(made.add_struct("xdp_md", 0))
    id = made.add_func("main", made.add_func_proto(number, [("ctx", context)]))
    fd = btf(calls, made.build())
    return program(calls, "r0 = 2; exit", P.XDP, btf=fd, funcs=[(0, id)]), id


def extension(calls: Calls, prog: int, id: int) -> int:
    """A program for the function of another. Raises NotOffered where that is refused."""
    fd = calls.fd_by_id(Cmd.BTF_GET_FD_BY_ID, calls.info(prog, ProgInfo).btf_id)
    attr = ProgLoad(prog_type=P.EXT, attach_btf_id=id, attach_prog_fd=prog, prog_btf_fd=fd)
    with unless_refused("programs that extend others"):
        return _with_func(calls, attr, id)


def _with_func(calls: Calls, attr: ProgLoad, id: int) -> int:
    mem = Memory()
    attr.func_info = mem.pin(bytearray(u32(0, id)))
    attr.func_info_cnt, attr.func_info_rec_size = 1, 8
    return load(calls, attr, code("r0 = 1; exit"), mem=mem)


def check_extension(bench: Bench) -> None:
    """A link of an extension tells the program that it is in, and the function's type there."""
    calls = bench.calls
    prog, id = target(calls)
    made = extension(calls, prog, id)
    told = calls.info(made, ProgInfo)
    same((told.attach_btf_id, told.attach_btf_obj_id), (id, calls.info(prog, ProgInfo).btf_id))
    held = open_(calls, made)
    shown = calls.info(held, TracingLinkInfo)
    same((shown.type, shown.attach_type), (LinkType.TRACING, 0))
    same((shown.target_obj_id, shown.target_btf_id), (id_of(calls, prog), id))
    told = calls.info(made, ProgInfo)
    same((told.attach_btf_id, told.attach_btf_obj_id), (id, 0))
    fails(errno.EINVAL, open_, calls, made)


def check_extension_elsewhere(bench: Bench) -> None:
    """It can be attached to another program that has such a function, if that is named."""
    calls = bench.calls
    prog, id = target(calls)
    other, _id = target(calls)
    made = extension(calls, prog, id)
    held = link(calls, made, 0, target_fd=other, target_btf_id=id)
    same(calls.info(held, TracingLinkInfo).target_obj_id, id_of(calls, other))
    second = extension(calls, prog, id)
    fails(errno.EBUSY, link, calls, second, 0, target_fd=other, target_btf_id=id)
    fails(errno.EINVAL, link, calls, second, 0, target_fd=other)
    fails(errno.EINVAL, link, calls, second, 0, target_btf_id=id)
    fails(errno.EBADF, link, calls, second, 0, target_fd=CLOSED, target_btf_id=id)
    plain = program(calls, "r0 = 2; exit", P.XDP)
    fails(errno.EINVAL, link, calls, second, 0, target_fd=plain, target_btf_id=id)
    calls.close(held)
    link(calls, second, 0, target_fd=other, target_btf_id=id)


def check_extension_keeps_its_target(bench: Bench) -> None:
    """The program that is extended stays as long as the link."""
    calls = bench.calls
    prog, id = target(calls)
    made = extension(calls, prog, id)
    prog_id = id_of(calls, prog)
    held = open_(calls, made)
    calls.close(prog)
    same(calls.next_id(Cmd.PROG_GET_NEXT_ID, prog_id - 1), prog_id)
    calls.close(held)
    eventually(
        lambda: calls.next_id(Cmd.PROG_GET_NEXT_ID, prog_id - 1) != prog_id, "the target goes"
    )


def check_extended_program_in_an_array(bench: Bench) -> None:
    """A program that is extended is in no program array, and the other way round (EBUSY)."""
    calls = bench.calls
    prog, id = target(calls)
    made = open_(calls, extension(calls, prog, id))
    array = map(calls, T.PROG_ARRAY)
    fails(errno.EBUSY, calls.map_update, array, u32(0), u32(prog))
    calls.close(made)
    calls.map_update(array, u32(0), u32(prog))
    fails(errno.EBUSY, open_, calls, extension(calls, prog, id))


def check_extension_of_nothing(bench: Bench) -> None:
    """A function that the program has not, or a program without types, is EINVAL."""
    calls = bench.calls
    prog, id = target(calls)
    extension(calls, prog, id)
    fails(errno.EINVAL, extension, calls, prog, 1)
    attr = ProgLoad(prog_type=P.EXT, attach_btf_id=id)
    fails(errno.EINVAL, load, calls, attr, code(RETURN_0))
    attr.attach_prog_fd = program(calls)
    fails(errno.EINVAL, load, calls, attr, code(RETURN_0))
    attr = ProgLoad(prog_type=P.EXT, attach_btf_id=id, attach_prog_fd=prog, expected_attach_type=1)
    fails(errno.EINVAL, load, calls, attr, code(RETURN_0))


def tracer(calls: Calls, prog: int, id: int) -> int:
    """A program for the entry of a function of another program. Raises NotOffered."""
    attr = ProgLoad(
        prog_type=P.TRACING, expected_attach_type=A.TRACE_FENTRY, attach_btf_id=id,
        attach_prog_fd=prog,
    )  # fmt: skip
    with unless_refused("programs at functions"):
        return load(calls, attr, code(RETURN_0))


def check_fentry_of_a_program(bench: Bench) -> None:
    """A tracing program can be at the function of another program, and tells it."""
    calls = bench.calls
    prog, id = target(calls)
    made = tracer(calls, prog, id)
    told = calls.info(open_(calls, made), TracingLinkInfo)
    same((told.attach_type, told.target_obj_id), (A.TRACE_FENTRY, id_of(calls, prog)))
    same(told.target_btf_id, id)
    fails(errno.EBUSY, open_, calls, extension(calls, prog, id))
