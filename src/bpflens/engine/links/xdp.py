"""XDP links (net/core/dev.c)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from bpflens.abi.enums import LinkType, ProgType
from bpflens.engine.call import U32, err
from bpflens.engine.links.base import Link, finish, maker

if TYPE_CHECKING:
    from bpflens.abi.attrs import LinkCreate
    from bpflens.engine.call import Call
    from bpflens.engine.net import Device
    from bpflens.engine.progs.prog import Prog


class XdpLink(Link):
    """A program on the receive path of a device."""

    __slots__ = ("device", "mode_bit")

    type = LinkType.XDP
    device: Device | None
    mode_bit: int

    def release(self) -> None:
        """dev_xdp_detach_link()."""
        if self.device:
            self.device.xdp_set(self.mode_bit, None, None)
            self.device = None

    def target_gone(self) -> None:
        self.device = None

    def detach(self) -> None:
        self.release()

    def update(self, call: Call, new: Prog, old: Prog | None) -> None:
        """bpf_xdp_link_update()."""
        if not self.device:
            raise err(errno.ENOLINK)
        if old and old is not self.prog:
            raise err(errno.EPERM)
        assert self.prog
        if (new.type, new.attach_type) != (self.prog.type, self.prog.attach_type):
            raise err(errno.EINVAL)
        if new is not self.prog:
            self.device.xdp_set(self.mode_bit, new, self)
            self.replace(new)

    def fields(self, call: Call, data: bytearray) -> None:
        U32.pack_into(data, 16, self.device.index if self.device else 0)

    def lines(self) -> str:
        return f"ifindex:\t{self.device.index if self.device else 0}\n"


@maker(ProgType.XDP)
def link(call: Call, attr: LinkCreate, prog: Prog) -> int:
    """bpf_xdp_link_attach()."""
    device = call.task.netns.devices.get(attr.target_fd)
    if device is None:
        raise err(errno.EINVAL)
    made = XdpLink(call.engine, call.task.creds, prog, attr.attach_type)
    made.device = None

    def attach() -> None:
        made.mode_bit = device.xdp_attach(prog, attr.flags, link=made)
        made.device = device

    return finish(call, made, attach)
