"""Programs at socket maps (net/core/sock_map.c)."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from bpflens.abi.enums import AttachType, LinkType, ProgType
from bpflens.engine.call import err
from bpflens.engine.links.base import PROG_TYPES, Link, finish, maker
from bpflens.engine.links.prog_attach import Hook, hook, prog_of_type
from bpflens.engine.maps.base import Map
from bpflens.engine.maps.sockets import Sockets
from bpflens.engine.progs.prog import Prog

if TYPE_CHECKING:
    from bpflens.abi.attrs import LinkCreate, ProgAttach, ProgQuery
    from bpflens.engine.call import Call

_FIELDS = struct.Struct("=II")
_SKB = (AttachType.SK_SKB_STREAM_VERDICT, AttachType.SK_SKB_VERDICT)
"""Of these two a map has one at a time."""


class SockmapLink(Link):
    """A program at a socket map."""

    __slots__ = ("map",)

    type = LinkType.SOCKMAP
    map: Sockets | None

    def release(self) -> None:
        if self.map:
            self.map.progs.pop(self.attach_type, None)
            self.map.closed()  # bpf_map_put_with_uref()
            self.map.drop()
            self.map = None

    def detach(self) -> None:
        self.release()

    def update(self, call: Call, new: Prog, old: Prog | None) -> None:
        """sock_map_link_update_prog()."""
        if old and old is not self.prog:
            raise err(errno.EPERM)
        if self.prog and (new.type, new.attach_type) != (self.prog.type, self.prog.attach_type):
            raise err(errno.EINVAL)
        if not self.map:
            raise err(errno.ENOLINK)
        self.replace(new)

    def fields(self, call: Call, data: bytearray) -> None:
        _FIELDS.pack_into(data, 16, self.map.id if self.map else 0, self.attach_type)

    def lines(self) -> str:
        return f"map_id:\t{self.map.id if self.map else 0}\nattach_type:\t{self.attach_type}\n"


def _check(found: Map, attach: int) -> Sockets:
    """sock_map_progs(): whether a map has such a place."""
    if not isinstance(found, Sockets):
        raise err(errno.EOPNOTSUPP)
    for one, other in (_SKB, _SKB[::-1]):
        if attach == one and other in found.progs:
            raise err(errno.EBUSY)
    return found


@maker(ProgType.SK_MSG, ProgType.SK_SKB)
def link(call: Call, attr: LinkCreate, prog: Prog) -> int:
    """sock_map_link_create()."""
    if not call.engine.release.sockmap_links or attr.flags:
        raise err(errno.EINVAL)
    found = call.task.files.get(attr.target_fd, Map)
    if not isinstance(found, Sockets):
        raise err(errno.EINVAL)
    made = SockmapLink(call.engine, call.task.creds, prog, attr.attach_type)
    made.map = None

    def attach() -> None:
        _check(found, attr.attach_type)
        old = found.progs.get(attr.attach_type)
        if isinstance(old, SockmapLink):
            raise err(errno.EBUSY)
        found.opened()
        found.progs[attr.attach_type] = made
        if isinstance(old, Prog):
            old.drop()  # a link takes the place of a program without one
        made.map = found

    return finish(call, made, attach)


@hook(
    AttachType.SK_MSG_VERDICT,
    AttachType.SK_SKB_STREAM_PARSER,
    AttachType.SK_SKB_STREAM_VERDICT,
    AttachType.SK_SKB_VERDICT,
)
class SocketMaps(Hook):
    """PROG_ATTACH, PROG_DETACH and PROG_QUERY on a socket map."""

    def attach(self, call: Call, attr: ProgAttach, prog: Prog) -> None:
        """sock_map_get_from_fd()."""
        if attr.attach_flags or attr.replace_bpf_fd:
            raise err(errno.EINVAL)
        found = _check(call.task.files.get(attr.target_fd, Map), attr.attach_type)
        old = found.progs.get(attr.attach_type)
        if isinstance(old, SockmapLink):
            raise err(errno.EBUSY)
        prog.hold()
        found.progs[attr.attach_type] = prog
        if isinstance(old, Prog):
            old.drop()

    def detach(self, call: Call, attr: ProgAttach, prog: Prog | None) -> None:
        """sock_map_prog_detach()."""
        if attr.attach_flags or attr.replace_bpf_fd:
            raise err(errno.EINVAL)
        found = call.task.files.get(attr.target_fd, Map)
        gone = prog_of_type(call, attr.attach_bpf_fd, PROG_TYPES[attr.attach_type])
        found = _check(found, attr.attach_type)
        old = found.progs.get(attr.attach_type)
        if isinstance(old, SockmapLink):
            raise err(errno.EBUSY)
        if old is not gone:
            raise err(errno.ENOENT)
        del found.progs[attr.attach_type]
        gone.drop()

    def query(self, call: Call, attr: ProgQuery) -> None:
        """sock_map_bpf_prog_query()."""
        if attr.query_flags:
            raise err(errno.EINVAL)
        target = call.task.files.get(attr.target_fd, Map)
        call.put_u32(12, 0)
        call.put_u32(24, 0)  # written on errors too
        there = _check(target, attr.attach_type).progs.get(attr.attach_type)
        prog = there.prog if isinstance(there, SockmapLink) else there
        if isinstance(prog, Prog):
            if attr.prog_ids and attr.prog_cnt:
                call.mem.write(attr.prog_ids, prog.id.to_bytes(4, "little"))
            call.put_u32(24, 1)
