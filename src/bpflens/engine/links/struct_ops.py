"""A table of functions while it is registered (bpf_struct_ops_link_create())."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from bpflens.abi.enums import AttachType, LinkType
from bpflens.engine.call import U32, err
from bpflens.engine.links.base import Link, finish
from bpflens.engine.links.mprog import REPLACE
from bpflens.engine.maps.base import Map
from bpflens.engine.maps.struct_ops import StructOps

if TYPE_CHECKING:
    from bpflens.abi.attrs import LinkCreate, LinkUpdate
    from bpflens.engine.call import Call


class StructOpsLink(Link):
    """The map whose table is registered; there is no program of its own."""

    __slots__ = ("map",)

    type = LinkType.STRUCT_OPS
    map: StructOps | None

    def release(self) -> None:
        if self.map:
            self.map.ops.unregister(self.engine, self.map)
            self.map.drop()
            self.map = None

    def detach(self) -> None:
        """bpf_struct_ops_map_link_detach(). Since: 6.11."""
        self.release()

    def update_map(self, call: Call, attr: LinkUpdate) -> None:
        """link_update_map(), bpf_struct_ops_map_link_update()."""
        files = call.task.files
        new = files.get(attr.new_prog_fd, Map)
        old = None
        if attr.flags & REPLACE:
            old = files.get(attr.old_prog_fd, Map)
        elif attr.old_prog_fd:
            raise err(errno.EINVAL)
        if not isinstance(new, StructOps) or not new.may_register:
            raise err(errno.EINVAL)
        if not self.map:
            raise err(errno.ENOLINK)
        if old and old is not self.map:
            raise err(errno.EPERM)
        if new.value is not self.map.value:
            raise err(errno.EINVAL)
        new.ops.update(self.engine, new, self.map)
        new.hold()
        self.map.drop()
        self.map = new

    def fields(self, call: Call, data: bytearray) -> None:
        if self.map:
            U32.pack_into(data, 16, self.map.id)

    def lines(self) -> str:
        return f"map_id:\t{self.map.id}\n" if self.map else ""


def struct_ops(call: Call, attr: LinkCreate) -> int:
    """bpf_struct_ops_link_create()."""
    found = call.task.files.get(attr.prog_fd, Map)
    if not isinstance(found, StructOps) or not found.may_register:
        raise err(errno.EINVAL)
    made = StructOpsLink(call.engine, call.task.creds, None, AttachType.STRUCT_OPS)
    made.map = None

    def attach() -> None:
        found.ops.register(call.engine, found)
        found.hold()
        made.map = found

    return finish(call, made, attach)
