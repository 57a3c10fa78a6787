"""Programs at cgroups (kernel/bpf/cgroup.c)."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from bpflens.abi.attrs import LinkCreateCgroup
from bpflens.abi.enums import AttachType, LinkType, ProgType
from bpflens.engine.call import err
from bpflens.engine.cgroups import Cgroup, from_fd
from bpflens.engine.links.base import CGROUP_PROGS, CGROUP_TYPES, PROG_TYPES, Link, finish, maker
from bpflens.engine.links.mprog import (
    AFTER,
    BEFORE,
    ID,
    LINK,
    MULTI,
    OVERRIDE,
    PREORDER,
    REPLACE,
    find_link,
    find_prog,
)
from bpflens.engine.links.prog_attach import Hook, hook, prog_of_type
from bpflens.engine.links.query import answer

if TYPE_CHECKING:
    from bpflens.abi.attrs import LinkCreate, ProgAttach, ProgQuery
    from bpflens.engine.call import Call
    from bpflens.engine.progs.prog import Prog
    from bpflens.engine.tasks import Task

_MAX = 64
"""BPF_CGROUP_MAX_PROGS."""
_LINK_FLAGS = BEFORE | AFTER | ID | LINK | PREORDER
_FIELDS = struct.Struct("=QI")


class Entry:
    """struct bpf_prog_list."""

    __slots__ = ("flags", "link", "own")

    def __init__(self, own: Prog | None, link: CgroupLink | None, flags: int) -> None:
        self.own = own
        self.link = link
        self.flags = flags

    @property
    def prog(self) -> Prog:
        found = self.link.prog if self.link else self.own
        assert found
        return found


class CgroupHook:
    """What is attached to one cgroup for one attach type."""

    __slots__ = ("entries", "flags", "revision")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.flags = 0
        """How the programs share the hook: 0, OVERRIDE or MULTI; fixed while there are any."""
        self.revision = 1

    def clear(self) -> None:
        """cgroup_bpf_release()."""
        for entry in self.entries:
            if entry.link:
                entry.link.target_gone()
            elif entry.own:
                entry.own.drop()
        self.entries.clear()

    def remove(self, entry: Entry) -> None:
        """Take an entry out; the last one frees the mode."""
        self.entries.remove(entry)
        if entry.own:
            entry.own.drop()
        if not self.entries:
            self.flags = 0
        self.revision += 1


def slot_of(attach: int, prog: Prog | None) -> int:
    """bpf_cgroup_atype_find(): under which number a cgroup has a hook. Those of LSM are each one's
    own; the attach type is the lowest byte."""
    if attach == AttachType.LSM_CGROUP and prog:
        return attach | prog.attach_btf_id << 8
    return attach


def take_slot(root: Cgroup, slot: int) -> None:
    """bpf_cgroup_atype_get(): so many hooks of LSM can have programs at a time, in all cgroups."""
    if slot & 0xFF != AttachType.LSM_CGROUP:
        return
    used = root.engine.lsm_slots
    for at, there in enumerate(used):
        if there and not any(
            one.hooks[there].entries for one in root.family() if there in one.hooks
        ):
            used[at] = 0
    if slot in used:
        return
    if 0 not in used:
        raise err(errno.EINVAL)
    used[used.index(0)] = slot


def slots(cgroup: Cgroup, attach: int) -> list[int]:
    """The numbers of the hooks that an attach type stands for."""
    if attach != AttachType.LSM_CGROUP:
        return [attach]
    return [slot for slot in cgroup.engine.lsm_slots if slot]


def hook_of(cgroup: Cgroup, attach: int) -> CgroupHook:
    """The hook of a cgroup, made when first needed."""
    found = cgroup.hooks.get(attach)
    if found is None:
        found = cgroup.hooks[attach] = CgroupHook()
    return found


def _allows(cgroup: Cgroup, attach: int) -> bool:
    """hierarchy_allows_attach(): the nearest ancestor with a program decides."""
    for above in cgroup.lineage()[1:]:
        found = above.hooks.get(attach)
        if found and found.flags & MULTI:
            return True
        if found and found.entries:
            return bool(found.flags & OVERRIDE)
    return True


def _anchor(task: Task, found: CgroupHook, flags: int, number: int, by_link: bool) -> Entry | None:
    """get_prog_list(): the entry beside which a new one goes; None in an empty list."""
    both = flags & BEFORE and flags & AFTER
    if flags & (LINK | ID) or number:
        if both or not flags & (BEFORE | AFTER):
            raise err(errno.EINVAL)
        if bool(flags & LINK) != by_link:
            raise err(errno.EINVAL)  # links stand beside links, programs beside programs
    elif found.entries and both:
        raise err(errno.EINVAL)
    if flags & LINK:
        link = find_link(task, flags, number)
        match = [entry for entry in found.entries if entry.link is link]
    elif flags & ID or number:
        prog = find_prog(task, flags, number)
        match = [entry for entry in found.entries if entry.own is prog]
    else:
        if not found.entries:
            return None
        return found.entries[0 if flags & BEFORE else -1]
    if not match:
        raise err(errno.ENOENT)
    if (match[0].flags ^ flags) & PREORDER:
        raise err(errno.EINVAL)
    return match[0]


def attach(
    task: Task, cgroup: Cgroup, type: int, prog: Prog | None, old: Prog | None,
    link: CgroupLink | None, flags: int, number: int, revision: int,
) -> None:  # fmt: skip
    """__cgroup_bpf_attach()."""
    shared = flags & (OVERRIDE | MULTI)
    if shared == OVERRIDE | MULTI or (flags & REPLACE and not flags & MULTI):
        raise err(errno.EINVAL)
    if flags & REPLACE and flags & (BEFORE | AFTER):
        raise err(errno.EINVAL)
    if (old is not None) != bool(flags & REPLACE):
        raise err(errno.EINVAL)
    running = prog or (link.prog if link else None)
    type = slot_of(type, running)
    take_slot(cgroup.root(), type)
    found = hook_of(cgroup, type)
    if revision and revision != found.revision:
        raise err(errno.ESTALE)
    if not _allows(cgroup, type):
        raise err(errno.EPERM)
    if found.entries and found.flags != shared:
        raise err(errno.EPERM)
    if len(found.entries) >= _MAX:
        raise err(errno.E2BIG)
    there = _existing(found, prog, old, flags)
    if there is None:
        beside = _anchor(task, found, flags, number, link is not None)
        entry = Entry(prog, link, flags)
        if beside is None:
            found.entries.append(entry)
        else:
            found.entries.insert(found.entries.index(beside) + (not flags & BEFORE), entry)
        gone = None
    else:
        gone = there.own
        there.own, there.link, there.flags = prog, link, flags
    if prog:
        prog.hold()
    if gone:
        gone.drop()
    found.flags = shared
    found.revision += 1


def _existing(found: CgroupHook, prog: Prog | None, old: Prog | None, flags: int) -> Entry | None:
    """find_attach_entry(): the entry that the new program takes the place of."""
    if not flags & MULTI:
        return found.entries[0] if found.entries else None
    if prog and prog is not old and any(entry.own is prog for entry in found.entries):
        raise err(errno.EINVAL)
    if old:
        for entry in found.entries:
            if entry.own is old:
                return entry
        raise err(errno.ENOENT)
    return None


def effective(cgroup: Cgroup, attach: int) -> list[Prog]:
    """compute_effective_progs(): what runs for this cgroup, in order."""
    levels: list[CgroupHook] = []
    count = 0
    for level in cgroup.lineage():
        found = level.hooks.get(attach)
        # below a cgroup without BPF_F_ALLOW_MULTI only the nearest program counts
        if found and found.entries and (not count or found.flags & MULTI):
            levels.append(found)
            count += len(found.entries)
    first = [e.prog for found in reversed(levels) for e in found.entries if e.flags & PREORDER]
    rest = [e.prog for found in levels for e in found.entries if not e.flags & PREORDER]
    return first + rest


class CgroupLink(Link):
    """A program at a cgroup, by link."""

    __slots__ = ("cgroup",)

    type = LinkType.CGROUP
    cgroup: Cgroup | None

    def _entry(self) -> tuple[CgroupHook, Entry]:
        assert self.cgroup
        found = self.cgroup.hooks[slot_of(self.attach_type, self.prog)]
        return found, next(entry for entry in found.entries if entry.link is self)

    def release(self) -> None:
        """bpf_cgroup_link_release()."""
        if self.cgroup:
            found, entry = self._entry()
            found.remove(entry)
            self.cgroup = None

    def target_gone(self) -> None:
        self.cgroup = None

    def detach(self) -> None:
        self.release()

    def update(self, call: Call, new: Prog, old: Prog | None) -> None:
        """cgroup_bpf_replace()."""
        if not self.cgroup:
            raise err(errno.ENOLINK)
        if old and old is not self.prog:
            raise err(errno.EPERM)
        assert self.prog
        if new.type != self.prog.type or slot_of(self.attach_type, new) != slot_of(
            self.attach_type, self.prog
        ):
            raise err(errno.EINVAL)
        found, _entry = self._entry()
        found.revision += 1
        self.replace(new)

    def fields(self, call: Call, data: bytearray) -> None:
        _FIELDS.pack_into(data, 16, self.cgroup.id if self.cgroup else 0, self.attach_type)

    def lines(self) -> str:
        number = self.cgroup.id if self.cgroup else 0
        return f"cgroup_id:\t{number}\nattach_type:\t{self.attach_type}\n"


def _check_lsm(attr: ProgQuery) -> None:
    """The programs of many hooks could not be told apart without their flags."""
    if attr.prog_cnt and attr.prog_ids and not attr.prog_attach_flags:
        raise err(errno.EINVAL)


@maker(*(ProgType(type) for type in sorted(CGROUP_PROGS)))
def link(call: Call, attr: LinkCreate, prog: Prog) -> int:
    """cgroup_bpf_link_attach()."""
    if attr.flags & ~(_LINK_FLAGS if call.engine.release.cgroup_order else 0):
        raise err(errno.EINVAL)
    cgroup = from_fd(call.task, attr.target_fd)
    more = LinkCreateCgroup.decode(call.raw)
    made = CgroupLink(call.engine, call.task.creds, prog, attr.attach_type)
    made.cgroup = None

    def place() -> None:
        attach(
            call.task, cgroup, attr.attach_type, None, None, made, attr.flags | MULTI,
            more.relative_fd, more.expected_revision,
        )  # fmt: skip
        made.cgroup = cgroup

    return finish(call, made, place)


@hook(*CGROUP_TYPES, AttachType.LSM_CGROUP, AttachType.LSM_MAC)
class Cgroups(Hook):
    """PROG_ATTACH, PROG_DETACH and PROG_QUERY on a cgroup."""

    def attach(self, call: Call, attr: ProgAttach, prog: Prog) -> None:
        """cgroup_bpf_prog_attach()."""
        if prog.type == ProgType.LSM and prog.attach_type != AttachType.LSM_CGROUP:
            raise err(errno.EINVAL)
        cgroup = from_fd(call.task, attr.target_fd)
        old = None
        if attr.attach_flags & MULTI and attr.attach_flags & REPLACE:
            old = prog_of_type(call, attr.replace_bpf_fd, prog.type)
        attach(
            call.task, cgroup, attr.attach_type, prog, old, None, attr.attach_flags,
            attr.relative_fd, attr.expected_revision,
        )  # fmt: skip

    def detach(self, call: Call, attr: ProgAttach, prog: Prog | None) -> None:
        """cgroup_bpf_prog_detach(): a bad program fd counts as none."""
        cgroup = from_fd(call.task, attr.target_fd)
        try:
            prog = prog_of_type(call, attr.attach_bpf_fd, PROG_TYPES[attr.attach_type])
        except OSError:
            prog = None
        if attr.attach_type == AttachType.LSM_MAC:
            raise err(errno.EINVAL)
        found = hook_of(cgroup, slot_of(attr.attach_type, prog))
        if attr.expected_revision and attr.expected_revision != found.revision:
            raise err(errno.ESTALE)
        if not found.flags & MULTI:
            if not found.entries:
                raise err(errno.ENOENT)
            found.remove(found.entries[0])
            return
        if prog is None:
            raise err(errno.EINVAL)
        for entry in found.entries:
            if entry.own is prog and not entry.link:
                found.remove(entry)
                return
        raise err(errno.ENOENT)

    def query(self, call: Call, attr: ProgQuery) -> None:
        """__cgroup_bpf_query()."""
        if attr.attach_type == AttachType.LSM_MAC:
            raise err(errno.EINVAL)
        cgroup = from_fd(call.task, attr.target_fd)
        if attr.query_flags and attr.prog_attach_flags:
            raise err(errno.EINVAL)
        if attr.attach_type == AttachType.LSM_CGROUP and not attr.query_flags:
            _check_lsm(attr)
        there = [hook_of(cgroup, slot) for slot in slots(cgroup, attr.attach_type)]
        if attr.query_flags:
            found = [effective(cgroup, slot) for slot in slots(cgroup, attr.attach_type)]
            progs, flags = [prog for some in found for prog in some], 0
            each = [0] * len(progs)
        else:
            progs = [entry.prog for one in there for entry in one.entries]
            each = [one.flags for one in there for _entry in one.entries]
            flags = 0 if attr.attach_type == AttachType.LSM_CGROUP else there[0].flags
        call.put_u32(12, flags)
        call.put_u32(24, len(progs))
        if call.size >= 64:
            many = attr.query_flags or attr.attach_type == AttachType.LSM_CGROUP
            call.put_u64(56, 0 if many else there[0].revision)
        ids = [prog.id for prog in progs]
        answer(call, attr, [(attr.prog_ids, ids), (attr.prog_attach_flags, each)])
