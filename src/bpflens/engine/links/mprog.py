"""An ordered list of programs on one hook (kernel/bpf/mprog.c), as tcx has it."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from bpflens.engine.call import err

if TYPE_CHECKING:
    from bpflens.engine.links.base import Link
    from bpflens.engine.progs.prog import Prog
    from bpflens.engine.tasks import Task

OVERRIDE, MULTI, REPLACE, BEFORE, AFTER, ID, PREORDER, LINK = 1, 2, 4, 8, 16, 32, 64, 8192
"""Flags of attachments (BPF_F_*)."""
MPROG_FLAGS = REPLACE | BEFORE | AFTER | ID | LINK
_MAX = 63
"""bpf_mprog_max()."""
_NONE = -1000
"""No place found yet."""


class Mprog:
    """Programs in the order in which they run; a link holds its own reference."""

    __slots__ = ("entries", "revision")

    def __init__(self) -> None:
        self.entries: list[tuple[Prog, Link | None]] = []
        self.revision = 1

    def anchor(
        self, task: Task, flags: int, number: int, type: int
    ) -> tuple[Prog | None, Link | None]:
        """bpf_mprog_tuple_relative()."""
        if flags & LINK:
            link = find_link(task, flags, number)
            if type and link.prog and link.prog.type != type:
                raise err(errno.EINVAL)
            return link.prog, link
        if not flags & ID and not number:
            return None, None
        prog = find_prog(task, flags, number)
        if type and prog.type != type:
            raise err(errno.EINVAL)
        return prog, None

    def _exact(self, prog: Prog, link: Link | None) -> int:
        for at, (there, holder) in enumerate(self.entries):
            if there is prog:
                if holder is not link:
                    raise err(errno.EBUSY)
                return at
        raise err(errno.ENOENT)

    def _beside(self, prog: Prog | None, link: Link | None, step: int) -> int:
        """bpf_mprog_pos_before(), bpf_mprog_pos_after()."""
        for at, (there, holder) in enumerate(self.entries):
            if there is prog and (not link or holder is link):
                return at + step
        if prog:
            raise err(errno.ENOENT)
        return -1 if step < 0 else len(self.entries)

    def _place(self, flags: int, at: int, prog: Prog | None, link: Link | None) -> int:
        for bit, step in ((BEFORE, -1), (AFTER, 1)):
            if flags & bit:
                there = self._beside(prog, link, step)
                if at != _NONE and there != at:
                    raise err(errno.ERANGE)
                at = there
        return at

    def attach(
        self, task: Task, prog: Prog, link: Link | None, old: Prog | None, flags: int,
        number: int, revision: int,
    ) -> None:  # fmt: skip
        """bpf_mprog_attach()."""
        if revision and revision != self.revision:
            raise err(errno.ESTALE)
        if any(there is prog for there, _link in self.entries):
            raise err(errno.EEXIST)
        anchor, anchor_link = self.anchor(task, flags & ~REPLACE, number, prog.type)
        at = _NONE
        if flags & REPLACE:
            if old is None:
                raise err(errno.ENOENT)
            at = self._exact(old, link)
        at = self._place(flags, at, anchor, anchor_link)
        if at == _NONE:
            if anchor or flags:
                raise err(errno.EINVAL)
            at = len(self.entries)
            flags = AFTER
        if at >= _MAX:
            raise err(errno.ERANGE)
        if not link:
            prog.hold()
        if flags & REPLACE:
            gone, holder = self.entries[at]
            self.entries[at] = (prog, link)
            if not holder:
                gone.drop()
        else:
            if len(self.entries) >= _MAX:
                if not link:
                    prog.drop()
                raise err(errno.ERANGE)
            self.entries.insert(at + 1 if flags & BEFORE else at, (prog, link))
        self.revision += 1

    def detach(
        self, task: Task, prog: Prog | None, link: Link | None, flags: int, number: int,
        revision: int,
    ) -> None:  # fmt: skip
        """bpf_mprog_detach()."""
        if not self.entries:
            raise err(errno.ENOENT)
        if flags & REPLACE:
            raise err(errno.EINVAL)
        if revision and revision != self.revision:
            raise err(errno.ESTALE)
        anchor, anchor_link = self.anchor(task, flags, number, prog.type if prog else 0)
        at = self._exact(prog, link) if prog else _NONE
        at = self._place(flags, at, anchor, anchor_link)
        if at == _NONE:
            if anchor or flags:
                raise err(errno.EINVAL)
            at = len(self.entries)
        at = min(max(at, 0), len(self.entries) - 1)
        gone, holder = self.entries[at]
        if holder is not link:
            raise err(errno.EBUSY)
        del self.entries[at]
        if not holder:
            gone.drop()
        self.revision = self.revision + 1 if self.entries else 1

    def clear(self) -> None:
        """The hook goes: links stay, attached to nothing."""
        for prog, link in self.entries:
            if link:
                link.target_gone()
            else:
                prog.drop()
        self.entries.clear()


def find_prog(task: Task, flags: int, number: int) -> Prog:
    """A program by ID or fd: bpf_get_anchor_prog()."""
    from bpflens.engine.progs.prog import Prog

    if not flags & ID:
        return task.files.get(number, Prog)
    found = task.engine.ids["prog"].get(number)
    if not isinstance(found, Prog):
        raise err(errno.ENOENT)
    return found


def find_link(task: Task, flags: int, number: int) -> Link:
    """A link by ID or fd: bpf_get_anchor_link()."""
    from bpflens.engine.links.base import Link

    if not flags & ID:
        return task.files.get(number, Link)
    found = task.engine.ids["link"].get(number)
    if not isinstance(found, Link):
        raise err(errno.ENOENT)
    return found
