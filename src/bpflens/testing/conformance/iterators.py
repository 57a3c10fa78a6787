"""Iterators: programs that go over the objects of a kernel, as links and as files to read."""

from __future__ import annotations

import errno

from bpflens.abi.attrs import IterCreate, LinkCreateIter
from bpflens.abi.enums import AttachType as A
from bpflens.abi.enums import Cmd, LinkType
from bpflens.abi.enums import MapType as T
from bpflens.abi.infos import IterCgroupLinkInfo, IterLinkInfo, LinkInfo, MapInfo
from bpflens.port.calls import Calls
from bpflens.port.memory import Memory
from bpflens.testing.bench import Bench, eventually
from bpflens.testing.builders import map, program, u32
from bpflens.testing.conformance.ids import walk
from bpflens.testing.conformance.links import raw_tp_link
from bpflens.testing.conformance.suite import BAD, CLOSED, cases, each, fails, same
from bpflens.testing.hooks import detach_link, id_of, update
from bpflens.testing.kernel_types import iterator_program

TARGETS = ("bpf_map", "bpf_map_elem", "bpf_prog", "bpf_link", "task", "task_file", "cgroup")


def link(calls: Calls, prog: int, info: bytes = b"", **fields: int) -> int:
    """A link of an iterator; `info` is a union bpf_iter_link_info."""
    mem = Memory()
    attr = LinkCreateIter(prog_fd=prog, attach_type=A.TRACE_ITER, **fields)
    if info:
        attr.iter_info, attr.iter_info_len = mem.pin(bytearray(info)), len(info)
    return calls.link_create(attr, mem)


def over(calls: Calls, target: str, info: bytes = b"") -> int:
    """A link of an iterator of this target that does nothing."""
    return link(calls, iterator_program(calls, target), info)


def read_from(calls: Calls, fd: int) -> int:
    """ITER_CREATE."""
    return calls.call(Cmd.ITER_CREATE, IterCreate(link_fd=fd))


def info_of(calls: Calls, fd: int) -> tuple[IterLinkInfo, bytes]:
    """What a link tells, with the name of its target."""
    mem = Memory()
    name = bytearray(32)
    told = calls.fill_info(fd, IterLinkInfo(target_name=mem.pin(name), target_name_len=32), mem)
    return told, bytes(name).partition(b"\0")[0]


@cases(**{name: name for name in TARGETS if name not in ("bpf_map_elem", "cgroup")})
def check_target(calls: Calls, target: str) -> None:
    """A link tells what it goes over, and can be read from."""
    fd = over(calls, target)
    told, name = info_of(calls, fd)
    same((told.type, name), (LinkType.ITER, target.encode()))
    same(told.target_name_len, len(target) + 1)
    read_from(calls, fd)


def check_stays_attached(calls: Calls) -> None:
    """An iterator's link cannot be detached (EOPNOTSUPP)."""
    fails(errno.EOPNOTSUPP, detach_link, calls, over(calls, "bpf_map"))


def check_update(calls: Calls) -> None:
    """Its program can be replaced by another of the same target."""
    fd = over(calls, "bpf_map")
    new = iterator_program(calls, "bpf_map")
    update(calls, fd, new)
    same(calls.info(fd, LinkInfo).prog_id, id_of(calls, new))
    fails(errno.EINVAL, update, calls, fd, iterator_program(calls, "bpf_prog"))


def check_arguments(calls: Calls) -> None:
    """An iterator has no target fd and no flags; its info needs pointer and length (EINVAL)."""
    prog = iterator_program(calls, "bpf_map")
    for wrong in ({"target_fd": 1}, {"flags": 1}, {"iter_info": BAD}, {"iter_info_len": 4}):
        fails(errno.EINVAL, link, calls, prog, **wrong)


def check_unreadable_info(calls: Calls) -> None:
    """Info that cannot be read is EFAULT, and one that is longer than known E2BIG."""
    prog = iterator_program(calls, "bpf_map")
    fails(errno.EFAULT, link, calls, prog, iter_info=BAD, iter_info_len=4)
    fails(errno.E2BIG, link, calls, prog, bytes(16) + b"\1")


def check_another_link(calls: Calls) -> None:
    """Only an iterator's link can be read from (EINVAL)."""
    fails(errno.EINVAL, read_from, calls, raw_tp_link(calls))


def check_file_tells_nothing(calls: Calls) -> None:
    """The file that is read from has no information (EINVAL)."""
    fails(errno.EINVAL, calls.info, read_from(calls, over(calls, "bpf_map")), LinkInfo)


def check_another_program(calls: Calls) -> None:
    """Another program cannot be attached as an iterator (EINVAL)."""
    fails(errno.EINVAL, link, calls, program(calls))


# --- over the elements of a map


ITERABLE = each(
    T.HASH, T.ARRAY, T.LRU_HASH, T.PERCPU_HASH, T.LRU_PERCPU_HASH, T.PERCPU_ARRAY,
)  # fmt: skip


@cases(**ITERABLE)
def check_elements(calls: Calls, type: T) -> None:
    """A link over a map's elements tells the map."""
    held = map(calls, type)
    told, name = info_of(calls, over(calls, "bpf_map_elem", u32(held)))
    same((name, told.map_id), (b"bpf_map_elem", calls.info(held, MapInfo).id))


@cases(**each(T.PROG_ARRAY, T.LPM_TRIE, T.QUEUE, T.RINGBUF, T.DEVMAP, T.STACK_TRACE))
def check_elements_of_others(calls: Calls, type: T) -> None:
    """The elements of other types cannot be gone over (EINVAL)."""
    fails(errno.EINVAL, over, calls, "bpf_map_elem", u32(map(calls, type)))


def check_elements_of_no_map(calls: Calls) -> None:
    """The map is named by its fd: none or closed EBADF, another kind EINVAL."""
    fails(errno.EBADF, over, calls, "bpf_map_elem")
    fails(errno.EBADF, over, calls, "bpf_map_elem", u32(CLOSED))
    fails(errno.EINVAL, over, calls, "bpf_map_elem", u32(program(calls)))


def check_elements_keep_the_map(calls: Calls) -> None:
    """The link keeps the map."""
    held = map(calls)
    id = calls.info(held, MapInfo).id
    over(calls, "bpf_map_elem", u32(held))
    calls.close(held)
    assert id in walk(calls, "map", id - 1)


def check_elements_of_a_map_to_write(bench: Bench) -> None:
    """A map that may not be read through that fd is still gone over."""
    from bpflens.abi.enums import MapFlag

    held = map(bench.calls, flags=MapFlag.WRONLY)
    over(bench.calls, "bpf_map_elem", u32(held))


# --- over cgroups


@cases(self_only=1, down_first=2, down_last=3, up=4)
def check_cgroups(bench: Bench, order: int) -> None:
    """A link over cgroups tells where it begins and in which order it goes."""
    group = bench.cgroup()
    fd = over(bench.calls, "cgroup", u32(order, group.fd))
    told = bench.calls.info(fd, IterCgroupLinkInfo)
    same((told.cgroup_id, told.order), (group.id, order))


@cases(none=0, unknown=9)
def check_cgroups_in_no_order(bench: Bench, order: int) -> None:
    """An order that there is not is EINVAL."""
    fails(errno.EINVAL, over, bench.calls, "cgroup", u32(order, bench.cgroup().fd))


def check_cgroups_of_no_cgroup(bench: Bench) -> None:
    """A file that is no cgroup is EBADF; fd and id together are EINVAL."""
    fails(errno.EBADF, over, bench.calls, "cgroup", u32(1, bench.plain_file()))
    group = bench.cgroup()
    fails(errno.EINVAL, over, bench.calls, "cgroup", u32(1, group.fd, group.id, 0))


# --- open iterators


def check_open_iterator_without_its_link(calls: Calls) -> None:
    """What is read from keeps the program, and not the link."""
    prog = iterator_program(calls, "bpf_map")
    prog_id, fd = id_of(calls, prog), link(calls, prog)
    link_id = calls.info(fd, LinkInfo).id
    rows = read_from(calls, fd)
    for own in (prog, fd):
        calls.close(own)
    eventually(lambda: link_id not in walk(calls, "link"), "the link goes")
    assert prog_id in walk(calls, "prog")
    calls.close(rows)
    eventually(lambda: prog_id not in walk(calls, "prog"), "the program goes")


def check_open_iterator_of_a_map(calls: Calls) -> None:
    """What is read from keeps the map whose elements it goes over."""
    of = map(calls, T.ARRAY)
    map_id = calls.info(of, MapInfo).id
    fd = over(calls, "bpf_map_elem", u32(of))
    link_id = calls.info(fd, LinkInfo).id
    rows = read_from(calls, fd)
    for own in (of, fd):
        calls.close(own)
    eventually(lambda: link_id not in walk(calls, "link"), "the link goes")
    assert map_id in walk(calls, "map")
    calls.close(rows)
    eventually(lambda: map_id not in walk(calls, "map"), "the map goes")


def check_no_fd_holds_nothing(bench: Bench) -> None:
    """An iterator that fails for the lack of an fd (EMFILE) keeps neither program nor map."""
    calls = bench.calls
    of = map(calls, T.HASH)
    map_id = id_of(calls, of)
    fd = over(calls, "bpf_map_elem", u32(of))
    with bench.no_more_files():
        fails(errno.EMFILE, read_from, calls, fd)
    for own in (of, fd):
        calls.close(own)
    eventually(lambda: map_id not in walk(calls, "map"), "the map goes")
