"""LINK_CREATE, LINK_UPDATE, LINK_DETACH, ITER_CREATE."""

from __future__ import annotations

import errno

from bpflens.abi.attrs import IterCreate, LinkCreate, LinkDetach, LinkUpdate
from bpflens.abi.enums import AttachType, Cmd
from bpflens.engine.call import Call, command, err
from bpflens.engine.files import O_RDONLY, File, Node
from bpflens.engine.links.base import MAKERS, Link, check_attach_type
from bpflens.engine.links.iter import IterLink
from bpflens.engine.links.mprog import REPLACE
from bpflens.engine.links.struct_ops import StructOpsLink, struct_ops
from bpflens.engine.progs.prog import Prog

_END = 60
"""Where the widest variant of the attr ends (uprobe_multi)."""


@command(Cmd.LINK_CREATE, LinkCreate, end=_END)
def link_create(call: Call, attr: LinkCreate) -> int:
    """link_create()."""
    if attr.attach_type == AttachType.STRUCT_OPS:
        return struct_ops(call, attr)
    prog = call.task.files.get(attr.prog_fd, Prog)
    if attr.attach_type >= call.engine.release.attach_types:
        raise err(errno.EINVAL)
    check_attach_type(call.task, prog, attr.attach_type)
    make = MAKERS.get(prog.type)
    if make is None:
        raise err(errno.EINVAL)
    return make(call, attr, prog)


@command(Cmd.LINK_UPDATE, LinkUpdate)
def link_update(call: Call, attr: LinkUpdate) -> int:
    """link_update()."""
    if attr.flags & ~REPLACE:
        raise err(errno.EINVAL)
    link = call.task.files.get(attr.link_fd, Link)
    if isinstance(link, StructOpsLink):
        link.update_map(call, attr)
        return 0
    new = call.task.files.get(attr.new_prog_fd, Prog)
    old = None
    if attr.flags & REPLACE:
        old = call.task.files.get(attr.old_prog_fd, Prog)
    elif attr.old_prog_fd:
        raise err(errno.EINVAL)
    link.update(call, new, old)
    return 0


@command(Cmd.LINK_DETACH, LinkDetach)
def link_detach(call: Call, attr: LinkDetach) -> int:
    """link_detach(): may be done again, and does nothing then."""
    call.task.files.get(attr.link_fd, Link).detach()
    return 0


class Iterator(Node):
    """An open iterator; reading it would run the program.

    It goes on without its link: prepare_seq_file() takes the program, and the walk over a map's
    elements the map (bpf_iter_init_hash_map() and its like).
    """

    __slots__ = ("map", "prog")

    anon = "anon_inode:bpf_iter"

    def __init__(self, link: IterLink) -> None:
        assert link.prog
        self.prog, self.map = link.prog, link.map
        self.prog.hold()
        if self.map:
            self.map.opened()

    def closed(self, file: File) -> None:
        if self.map:
            self.map.closed(file)

    def drop(self) -> None:
        self.prog.drop()
        if self.map:
            self.map.drop()


@command(Cmd.ITER_CREATE, IterCreate)
def iter_create(call: Call, attr: IterCreate) -> int:
    """bpf_iter_create()."""
    if attr.flags:
        raise err(errno.EINVAL)
    link = call.task.files.get(attr.link_fd, Link)
    if not isinstance(link, IterLink):
        raise err(errno.EINVAL)
    files = call.task.files
    if files.full():
        raise err(errno.EMFILE)  # bpf_iter_new_fd() has the number before it takes the program
    return files.add(File(Iterator(link), O_RDONLY, call.task.creds))
