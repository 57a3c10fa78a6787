"""Links of one program to many probes: functions of the kernel, places of a file."""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any, NamedTuple

from bpflens.abi.attrs import LinkCreateUprobeMulti
from bpflens.abi.enums import AttachType as A
from bpflens.abi.enums import LinkType
from bpflens.abi.enums import ProgType as P
from bpflens.abi.infos import KprobeMultiLinkInfo, UprobeMultiLinkInfo
from bpflens.errors import SyscallError
from bpflens.port.calls import Calls
from bpflens.port.memory import Memory
from bpflens.testing.bench import Bench, Cap, NotOffered
from bpflens.testing.builders import program
from bpflens.testing.conformance.probes import FUNCTION, at_event
from bpflens.testing.conformance.suite import BAD, CLOSED, cases, fails, same
from bpflens.testing.hooks import detach_link, id_of, link_functions, link_places, update

OTHER = "vfs_open"
"""Another function than the checks of one probe have."""
RETURN = 1


# --- many functions


def multi(calls: Calls, attach: A = A.TRACE_KPROBE_MULTI) -> int:
    return program(calls, type=P.KPROBE, attach_type=attach)


def at_functions(
    calls: Calls, names: list[str] | None, cookies: list[int] | None = None, *,
    addresses: list[int] | None = None, prog: int = 0, **fields: int,
) -> int:  # fmt: skip
    """A link of a program to functions of the kernel. Raises NotOffered where there are none."""
    prog = prog or multi(calls)
    return _offered(
        lambda: link_functions(calls, prog, names, cookies, addresses=addresses, **fields)
    )


def _offered(call: Callable[[], int]) -> int:
    try:
        return call()
    except SyscallError as error:
        if error.errno == errno.EOPNOTSUPP:
            raise NotOffered("this kernel is built without such probes") from None
        raise


class Functions(NamedTuple):
    """What a link to functions tells."""

    info: KprobeMultiLinkInfo
    addresses: list[int]
    cookies: list[int]


def functions(calls: Calls, link: int, room: int = 4) -> Functions:
    """What a link tells, with arrays of this length."""
    mem = Memory()
    arrays = [bytearray(b"\xee" * 8 * room) for _ in range(2)]
    asked = KprobeMultiLinkInfo(addrs=mem.pin(arrays[0]), cookies=mem.pin(arrays[1]), count=room)
    told = calls.fill_info(link, asked, mem)
    return Functions(told, *(_u64s(array)[: told.count] for array in arrays))


def _u64s(data: bytearray) -> list[int]:
    return [int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data), 8)]


@cases(entry=(0, "kprobe_multi"), back=(RETURN, "kretprobe_multi"))
def check_functions(bench: Bench, flags: int, word: str) -> None:
    """A link to functions tells how many, and its flags; what it is called tells fdinfo."""
    calls = bench.calls
    prog = multi(calls)
    link = at_functions(calls, [FUNCTION, OTHER], prog=prog, kprobe_multi_flags=flags)
    told = calls.info(link, KprobeMultiLinkInfo)
    same((told.type, told.prog_id), (LinkType.KPROBE_MULTI, id_of(calls, prog)))
    same((told.count, told.flags, told.missed), (2, flags, 0))
    assert bench.fdinfo(link)["link_type"] in (word, "kprobe_multi")
    fails(errno.EINVAL, update, calls, link, prog)
    fails(errno.EOPNOTSUPP, detach_link, calls, link)


def check_functions_addresses(bench: Bench) -> None:
    """It tells their addresses to who may see them; by these the next can be made."""
    calls = bench.calls
    first = functions(calls, at_functions(calls, [FUNCTION, OTHER]))
    assert all(first.addresses), first
    link = at_functions(calls, None, addresses=first.addresses)
    same(functions(calls, link)[1:], (first.addresses, [0, 0]))
    hidden = functions(bench.caller(0, [Cap.BPF]), link)
    same((hidden.info.count, hidden.addresses), (2, [0, 0]))


def check_functions_cookies(bench: Bench) -> None:
    """With cookies the functions are sorted by address, and each keeps its own."""
    calls = bench.calls
    one, two = (functions(calls, at_functions(calls, [name])).addresses[0]
                for name in (FUNCTION, OTHER))  # fmt: skip
    for link in (
        at_functions(calls, [FUNCTION, OTHER], [7, 8]),
        at_functions(calls, [OTHER, FUNCTION], [8, 7]),
        at_functions(calls, None, [8, 7], addresses=[two, one]),
    ):
        told = functions(calls, link)
        same(dict(zip(told.addresses, told.cookies, strict=True)), {one: 7, two: 8})
        same(told.addresses, sorted((one, two)))


def check_functions_cut(bench: Bench) -> None:
    """With too little room they are cut and ENOSPC; an array needs a count and a place."""
    calls = bench.calls
    link = at_functions(calls, [FUNCTION, OTHER], [7, 8])
    fails(errno.ENOSPC, functions, calls, link, 1)
    wrong = (
        KprobeMultiLinkInfo(addrs=BAD), KprobeMultiLinkInfo(count=2),
        KprobeMultiLinkInfo(cookies=BAD), KprobeMultiLinkInfo(cookies=BAD, count=2),
    )  # fmt: skip
    for asked in wrong:
        fails(errno.EINVAL, calls.fill_info, link, asked, Memory())
    fails(errno.EFAULT, calls.fill_info, link, KprobeMultiLinkInfo(addrs=BAD, count=2), Memory())


@cases(
    none={"cnt": 0}, flag={"kprobe_multi_flags": 2}, both={"addrs": BAD}, neither={"syms": 0},
)  # fmt: skip
def check_functions_arguments(bench: Bench, fields: dict[str, int]) -> None:
    """Names or addresses, one of them and at least one; flags are but one (EINVAL)."""
    at_functions(bench.calls, [FUNCTION])
    fails(errno.EINVAL, at_functions, bench.calls, [FUNCTION], **fields)


def check_functions_that_cannot_be(bench: Bench) -> None:
    """An unknown name is ESRCH, an address where no function begins EINVAL, too many E2BIG."""
    calls = bench.calls
    at = functions(calls, at_functions(calls, [FUNCTION])).addresses[0]
    fails(errno.ESRCH, at_functions, calls, [FUNCTION, "no_such_function"])
    fails(errno.EINVAL, at_functions, calls, None, addresses=[at + 1])
    fails(errno.E2BIG, at_functions, calls, [FUNCTION], cnt=(1 << 20) + 1)
    fails(errno.EFAULT, at_functions, calls, [FUNCTION], syms=BAD)


def check_functions_of_another_program(bench: Bench) -> None:
    """Only a program that was loaded for it goes to many functions, and to nothing else."""
    calls = bench.calls
    at_functions(calls, [FUNCTION])
    plain = program(calls, type=P.KPROBE)
    fails(errno.EINVAL, at_functions, calls, [FUNCTION], prog=plain)
    event = bench.probe("uprobe", bench.executable(), 64)
    fails(errno.EINVAL, at_event, bench, event, prog=multi(calls))


# --- many places of a file


def at_places(
    bench: Bench, offsets: list[int], cookies: list[int] | None = None,
    counters: list[int] | None = None, *, path: str = "", prog: int = 0, **fields: int,
) -> int:  # fmt: skip
    """A link of a program to places of a file. Raises NotOffered where there are no uprobes."""
    prog = prog or multi(bench.calls, A.TRACE_UPROBE_MULTI)
    file = path or bench.executable()
    return _offered(
        lambda: link_places(bench.calls, prog, file, offsets, cookies, counters, **fields)
    )


class Places(NamedTuple):
    """What a link to places of a file tells."""

    info: UprobeMultiLinkInfo
    path: bytes
    offsets: list[int]
    counters: list[int]
    cookies: list[int]


def places(calls: Calls, link: int, room: int = 4, path_room: int = 256) -> Places:
    """What a link tells, with arrays of this length."""
    mem = Memory()
    path = bytearray(path_room)
    arrays = [bytearray(b"\xee" * 8 * room) for _ in range(3)]
    at = [mem.pin(array) for array in arrays]
    asked = UprobeMultiLinkInfo(
        path=mem.pin(path), path_size=path_room, count=room,
        offsets=at[0], ref_ctr_offsets=at[1], cookies=at[2],
    )  # fmt: skip
    told = calls.fill_info(link, asked, mem)
    columns = (_u64s(array)[: told.count] for array in arrays)
    return Places(told, bytes(path).partition(b"\0")[0], *columns)


def check_places(bench: Bench) -> None:
    """A link to places of a file tells path, offsets, semaphores and cookies, as given."""
    calls, path = bench.calls, bench.executable()
    prog = multi(calls, A.TRACE_UPROBE_MULTI)
    told = places(calls, at_places(bench, [128, 64], [7, 8], prog=prog))
    same((told.info.type, told.info.prog_id), (LinkType.UPROBE_MULTI, id_of(calls, prog)))
    same((told.info.count, told.info.flags, told.info.pid), (2, 0, 0))
    same((told.path, told.info.path_size), (path.encode(), len(path) + 1))
    same(told[2:], ([128, 64], [0, 0], [7, 8]))
    plain = places(calls, at_places(bench, [192], counters=[4096], uprobe_multi_flags=RETURN))
    same((plain.info.flags, plain[2:]), (RETURN, ([192], [4096], [0])))


def check_places_have_one_counter(bench: Bench) -> None:
    """All probes at a place have the same semaphore, at an even offset (EINVAL)."""
    # at places of their own: Linux forgets a probe only some time after it is gone
    first = at_places(bench, [1024], counters=[4096])
    fails(errno.EINVAL, at_places, bench, [128, 1024])
    fails(errno.EINVAL, at_places, bench, [1088], counters=[4097])
    at_places(bench, [1024], counters=[4096])
    bench.calls.close(first)
    fails(errno.EINVAL, at_places, bench, [1024], counters=[2])


def check_places_of_one_process(bench: Bench) -> None:
    """It can be for one process, which it tells."""
    link = at_places(bench, [64], pid=bench.pid)
    same(bench.calls.info(link, UprobeMultiLinkInfo).pid, bench.pid)
    fails(errno.ESRCH, at_places, bench, [64], pid=0x3FFFFFFF)


def check_places_without_arrays(bench: Bench) -> None:
    """Without buffers it tells counts and the length of the path."""
    link = at_places(bench, [64, 128])
    told = bench.calls.info(link, UprobeMultiLinkInfo)
    same((told.count, told.path_size), (2, len(bench.executable()) + 1))
    fails(errno.EINVAL, update, bench.calls, link, multi(bench.calls, A.TRACE_UPROBE_MULTI))
    fails(errno.EOPNOTSUPP, detach_link, bench.calls, link)


def check_places_cut(bench: Bench) -> None:
    """Too little room is ENOSPC, for the path ENAMETOOLONG; an array needs a count."""
    calls = bench.calls
    link = at_places(bench, [64, 128])
    fails(errno.ENOSPC, places, calls, link, 1)
    fails(errno.ENAMETOOLONG, places, calls, link, 4, 4)
    wrong = (
        UprobeMultiLinkInfo(path=BAD), UprobeMultiLinkInfo(path_size=9),
        UprobeMultiLinkInfo(offsets=BAD), UprobeMultiLinkInfo(cookies=BAD),
    )  # fmt: skip
    for asked in wrong:
        fails(errno.EINVAL, calls.fill_info, link, asked, Memory())
    fails(errno.EFAULT, calls.fill_info, link, UprobeMultiLinkInfo(path=BAD, path_size=256),
          Memory())  # fmt: skip


def check_places_in_fdinfo(bench: Bench) -> None:
    """fdinfo tells count, process and path."""
    lines = bench.fdinfo(at_places(bench, [64, 128], uprobe_multi_flags=RETURN))
    words = [lines.get(key) for key in ("link_type", "uprobe_cnt", "pid", "path")]
    same(words, ["uretprobe_multi", "2", "0", bench.executable()])


@cases(
    none={"cnt": 0}, flag={"uprobe_multi_flags": 2}, no_path={"path_": 0},
    no_offsets={"offsets_": 0}, process={"pid": 0xFFFFFFFF},
)  # fmt: skip
def check_places_arguments(bench: Bench, fields: dict[str, int]) -> None:
    """Path, offsets and at least one of them; flags are but one; no negative process (EINVAL)."""
    at_places(bench, [64])
    given: dict[str, Any] = {}
    for field, value in fields.items():
        if field == "path_":
            fails(errno.EINVAL, _bare, bench, path=value)
        elif field == "offsets_":
            fails(errno.EINVAL, _bare, bench, offsets=value)
        else:
            given[field] = value
    if given:
        fails(errno.EINVAL, at_places, bench, [64], **given)


def _bare(bench: Bench, **fields: int) -> int:
    """LINK_CREATE with one pointer changed."""
    attr = LinkCreateUprobeMulti(
        prog_fd=multi(bench.calls, A.TRACE_UPROBE_MULTI),
        attach_type=A.TRACE_UPROBE_MULTI, path=BAD, offsets=BAD, cnt=1,
    )  # fmt: skip
    for field, value in fields.items():
        setattr(attr, field, value)
    return bench.calls.link_create(attr)


def check_places_that_cannot_be(bench: Bench) -> None:
    """What is no file, not there, or beyond its end is refused."""
    at_places(bench, [64])
    fails(errno.EBADF, at_places, bench, [64], path="/tmp")
    fails(errno.EBADF, at_places, bench, [64], path="\0")
    fails(errno.ENOENT, at_places, bench, [64], path="/tmp/no-such-file")
    fails(errno.EINVAL, at_places, bench, [1 << 20])
    fails(errno.E2BIG, at_places, bench, [64], cnt=(1 << 20) + 1)
    fails(errno.EFAULT, _bare, bench)


def check_places_of_another_program(bench: Bench) -> None:
    """Only a program that was loaded for it goes to many places (EINVAL)."""
    calls = bench.calls
    at_places(bench, [64])
    fails(errno.EINVAL, at_places, bench, [64], prog=program(calls, type=P.KPROBE))
    fails(errno.EINVAL, at_places, bench, [64], prog=multi(calls))
    fails(errno.EBADF, at_places, bench, [64], prog=CLOSED)


@cases(functions=at_functions, places=at_places)
def check_link_flags(bench: Bench, link: Callable[..., int]) -> None:
    """Links to many probes take no flags of links (EINVAL)."""
    given: tuple[Any, ...] = (bench.calls, [FUNCTION]) if link is at_functions else (bench, [64])
    link(*given)
    fails(errno.EINVAL, link, *given, flags=1)
