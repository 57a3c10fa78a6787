"""One program at many probes: kprobe_multi and uprobe_multi (kernel/trace/bpf_trace.c)."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from bpflens.abi.attrs import LinkCreateKprobeMulti, LinkCreateUprobeMulti
from bpflens.abi.enums import AttachType, LinkType
from bpflens.engine.bpffs import Regular, read_string, resolve
from bpflens.engine.call import err
from bpflens.engine.links.base import Link, finish

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bpflens.abi.attrs import LinkCreate
    from bpflens.engine.call import Call
    from bpflens.engine.progs.prog import Prog
    from bpflens.engine.tasks import Task

RETURN = 1
"""BPF_F_KPROBE_MULTI_RETURN, BPF_F_UPROBE_MULTI_RETURN."""
_MOST = 1 << 20
"""MAX_KPROBE_MULTI_CNT, MAX_UPROBE_MULTI_CNT."""
_NAME = 512
"""KSYM_NAME_LEN (128 until 6.1)."""
_PATH = 4096
KPROBE_TYPES = (AttachType.TRACE_KPROBE_MULTI, AttachType.TRACE_KPROBE_SESSION)
UPROBE_TYPES = (AttachType.TRACE_UPROBE_MULTI, AttachType.TRACE_UPROBE_SESSION)
_KPROBE = struct.Struct("=QIIQQ")
_UPROBE = struct.Struct("=QQQQIIII")


def _u64s(call: Call, at: int, count: int) -> list[int]:
    """An array of the caller; EFAULT."""
    return list(struct.unpack(f"={count}Q", call.mem.read(at, 8 * count)))


def _give(call: Call, at: int, numbers: Sequence[int]) -> None:
    if at:
        call.mem.write(at, struct.pack(f"={len(numbers)}Q", *numbers))


class KprobeMultiLink(Link):
    """A program at the beginning, or end, of many functions."""

    __slots__ = ("bits", "probes")

    type = LinkType.KPROBE_MULTI
    bits: int
    probes: list[tuple[int, int]]
    """(address, cookie), by address where there are cookies."""

    def fields(self, call: Call, data: bytearray) -> None:
        """bpf_kprobe_multi_link_fill_link_info()."""
        if not call.engine.release.perf_link_info:
            return  # of the same release
        at, room, _flags, _missed, cookies_at = _KPROBE.unpack_from(data, 16)
        if bool(at) != bool(room) or (cookies_at and not room):
            raise err(errno.EINVAL)
        _KPROBE.pack_into(data, 16, at, len(self.probes), self.bits, 0, cookies_at)
        if not at:
            return
        told = self.probes[:room]
        _give(call, cookies_at, [cookie for _address, cookie in told])
        seen = call.engine.policy.sees_raw(call.task.creds, self)
        _give(call, at, [address if seen else 0 for address, _cookie in told])
        if room < len(self.probes):
            raise err(errno.ENOSPC)

    def lines(self) -> str:
        """bpf_kprobe_multi_show_fdinfo()."""
        if not self.engine.release.probe_lines:
            return ""
        symbols = self.engine.symbols
        text = f"kprobe_cnt:\t{len(self.probes)}\nmissed:\t0\ncookie\t func\n"
        return text + "".join(
            f"{cookie}\t {symbols.at(address)}+0x0/0x10\n" for address, cookie in self.probes
        )

    def word(self) -> str:
        return "kretprobe_multi" if _told_as_return(self) else "kprobe_multi"


class UprobeMultiLink(Link):
    """A program at many places of a file."""

    __slots__ = ("bits", "file", "probes", "target")

    type = LinkType.UPROBE_MULTI
    bits: int
    file: Regular
    target: Task | None
    probes: list[tuple[int, int, int]]
    """(offset, ref_ctr_offset, cookie)."""

    def release(self) -> None:
        for offset, counter, _cookie in self.probes:
            self.file.probes.remove((offset, counter))

    @property
    def _pid(self) -> int:
        return self.target.pid if self.target else 0

    def fields(self, call: Call, data: bytearray) -> None:
        """bpf_uprobe_multi_link_fill_link_info()."""
        path_at, *places, path_room, room, _flags, _pid = _UPROBE.unpack_from(data, 16)
        if bool(path_at) != bool(path_room) or (any(places) and not room):
            raise err(errno.EINVAL)
        path = self.file.path.encode(errors="surrogateescape") + b"\0"
        if len(path) > min(path_room or _PATH, _PATH):
            raise err(errno.ENAMETOOLONG)  # d_path()
        if path_at:
            call.mem.write(path_at, path)
        _UPROBE.pack_into(
            data, 16, path_at, *places, len(path), len(self.probes), self.bits, self._pid
        )
        if not any(places):
            return
        for at, column in zip(places, zip(*self.probes[:room], strict=True), strict=True):
            _give(call, at, column)
        if room < len(self.probes):
            raise err(errno.ENOSPC)

    def lines(self) -> str:
        """bpf_uprobe_multi_show_fdinfo()."""
        if not self.engine.release.probe_lines:
            return ""
        text = f"uprobe_cnt:\t{len(self.probes)}\npid:\t{self._pid}\npath:\t{self.file.path}\n"
        text += "cookie\t offset\t ref_ctr_offset\n"
        return text + "".join(
            f"{cookie}\t {offset:#x}\t {counter:#x}\n" for offset, counter, cookie in self.probes
        )

    def word(self) -> str:
        return "uretprobe_multi" if _told_as_return(self) else "uprobe_multi"


def _told_as_return(link: KprobeMultiLink | UprobeMultiLink) -> bool:
    return bool(link.bits & RETURN) and link.engine.release.probe_lines


def kprobe_multi(call: Call, attr: LinkCreate, prog: Prog) -> int:
    """bpf_kprobe_multi_link_attach()."""
    if "FPROBE" in call.engine.without:
        raise err(errno.EOPNOTSUPP)
    more = LinkCreateKprobeMulti.decode(call.raw)
    if attr.flags or prog.attach_type not in KPROBE_TYPES or more.kprobe_multi_flags & ~RETURN:
        raise err(errno.EINVAL)
    if bool(more.addrs) == bool(more.syms) or not more.cnt:
        raise err(errno.EINVAL)
    if more.cnt > _MOST:
        raise err(errno.E2BIG)
    cookies = _u64s(call, more.cookies, more.cnt) if more.cookies else [0] * more.cnt
    if more.addrs:
        probes = list(zip(_u64s(call, more.addrs, more.cnt), cookies, strict=True))
    else:
        probes = _find(call, _u64s(call, more.syms, more.cnt), cookies)
    made = KprobeMultiLink(call.engine, call.task.creds, prog, attr.attach_type)
    made.bits = more.kprobe_multi_flags
    made.probes = sorted(probes) if more.cookies else probes

    def attach() -> None:
        if not all(call.engine.symbols.at(address) for address, _cookie in probes):
            raise err(errno.EINVAL)  # register_fprobe_ips(): no function begins there

    return finish(call, made, attach)


def _find(call: Call, pointers: list[int], cookies: list[int]) -> list[tuple[int, int]]:
    """copy_user_syms(), then ftrace_lookup_symbols() of the sorted names: ESRCH if one is missing.

    Returns addresses, each with its cookie.
    """
    names = []
    for at in pointers:
        name = read_string(call.mem, at, _NAME)
        if len(name) == _NAME:
            raise err(errno.E2BIG)
        names.append(name.decode(errors="replace"))
    found = [
        (call.engine.symbols.find(name), cookie)
        for name, cookie in sorted(zip(names, cookies, strict=True))
    ]
    if not all(address for address, _cookie in found):
        raise err(errno.ESRCH)
    return found


def uprobe_multi(call: Call, attr: LinkCreate, prog: Prog) -> int:
    """bpf_uprobe_multi_link_attach(): what cannot be probed costs no ID."""
    if "UPROBES" in call.engine.without:
        raise err(errno.EOPNOTSUPP)
    more = LinkCreateUprobeMulti.decode(call.raw)
    if attr.flags and call.engine.release.multi_flags:
        raise err(errno.EINVAL)
    if prog.attach_type not in UPROBE_TYPES or more.uprobe_multi_flags & ~RETURN:
        raise err(errno.EINVAL)
    if not more.path or not more.offsets or not more.cnt or more.pid >> 31:
        raise err(errno.EINVAL)
    if more.cnt > _MOST:
        raise err(errno.E2BIG)
    file = _file(call, more.path)
    target = None
    if more.pid:
        target = call.engine.tasks.get(more.pid)
        if target is None:
            raise err(errno.ESRCH)
    columns = [
        _u64s(call, at, more.cnt) if at else [0] * more.cnt
        for at in (more.offsets, more.ref_ctr_offsets, more.cookies)
    ]
    probes = list(zip(*columns, strict=True))
    _register(file, [(offset, counter) for offset, counter, _cookie in probes])
    made = UprobeMultiLink(call.engine, call.task.creds, prog, attr.attach_type)
    made.bits, made.file, made.target, made.probes = more.uprobe_multi_flags, file, target, probes
    try:
        return finish(call, made, lambda: None)
    except OSError:
        made.release()
        raise


def _register(file: Regular, probes: list[tuple[int, int]]) -> None:
    """uprobe_register(): one semaphore for all probes at a place."""
    counters = dict(file.probes)
    for offset, counter in probes:
        if offset > len(file.data) or counter % 2:
            raise err(errno.EINVAL)
        if counters.setdefault(offset, counter) != counter:
            raise err(errno.EINVAL)
    file.probes += probes


def _file(call: Call, at: int) -> Regular:
    """kern_path(): EBADF for what is no regular file, as an empty path is none."""
    path = read_string(call.mem, at, _PATH)
    if len(path) == _PATH:
        raise err(errno.EINVAL)
    where, name = resolve(call.task, path, None)
    entry = where.look(name.rstrip("/")) if name else where
    if entry is None:
        raise err(errno.ENOENT)
    if not isinstance(entry, Regular):
        raise err(errno.EBADF)
    if name.endswith("/"):
        raise err(errno.ENOTDIR)
    return entry
