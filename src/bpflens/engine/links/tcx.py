"""Programs on a device: tcx, on its ingress and egress (kernel/bpf/tcx.c), and netkit, on what the
two ends of a pair send (drivers/net/netkit.c)."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from bpflens.abi.attrs import LinkCreateTcx
from bpflens.abi.enums import AttachType, LinkType, ProgType
from bpflens.engine.call import err
from bpflens.engine.links.base import Link, finish, maker
from bpflens.engine.links.mprog import ID, REPLACE, Mprog
from bpflens.engine.links.prog_attach import Hook, hook
from bpflens.engine.links.query import answer
from bpflens.engine.progs.prog import Prog

if TYPE_CHECKING:
    from bpflens.abi.attrs import LinkCreate, ProgAttach, ProgQuery
    from bpflens.engine.call import Call
    from bpflens.engine.net import Device

_FIELDS = struct.Struct("=II")
_TCX = {AttachType.TCX_INGRESS: "ingress", AttachType.TCX_EGRESS: "egress"}
_NETKIT = {AttachType.NETKIT_PRIMARY: "primary", AttachType.NETKIT_PEER: "peer"}
_SIDES = _TCX | _NETKIT


def device_of(call: Call, index: int, attach: int) -> Device:
    """The device in the caller's network namespace whose list it is: ENODEV.

    netkit_dev_fetch(): only the primary end knows of netkit, and stands for the other one too.
    """
    if attach in _NETKIT and "NETKIT" in call.engine.without:
        raise err(errno.EINVAL)
    device = call.task.netns.devices.get(index)
    if device is None:
        raise err(errno.ENODEV)
    if attach in _NETKIT:
        if not device.peer:
            raise err(errno.ENXIO)
        if not device.primary:
            raise err(errno.EACCES)
        if attach == AttachType.NETKIT_PEER:
            return device.peer
    return device


class TcxLink(Link):
    """A program on a tcx hook."""

    __slots__ = ("device",)

    type = LinkType.TCX
    device: Device | None

    @property
    def _hook(self) -> Mprog:
        assert self.device
        return self.device.tcx[self.attach_type]

    def release(self) -> None:
        if self.device and self.prog:
            self._hook.detach(self.engine.current, self.prog, self, 0, 0, 0)
            self.device = None

    def target_gone(self) -> None:
        self.device = None

    def detach(self) -> None:
        self.release()

    def update(self, call: Call, new: Prog, old: Prog | None) -> None:
        """tcx_link_update(), netkit_link_update()."""
        if not self.device:
            raise err(errno.ENOLINK)
        if old and old is not self.prog:
            raise err(errno.EPERM)
        if new is self.prog:
            return
        assert self.prog
        self._hook.attach(call.task, new, self, self.prog, REPLACE | ID, self.prog.id, 0)
        self.replace(new)

    def fields(self, call: Call, data: bytearray) -> None:
        _FIELDS.pack_into(data, 16, self.device.index if self.device else 0, self.attach_type)

    def lines(self) -> str:
        side = _SIDES[AttachType(self.attach_type)]
        index = self.device.index if self.device else 0
        return f"ifindex:\t{index}\nattach_type:\t{self.attach_type} ({side})\n"


class NetkitLink(TcxLink):
    """A program on what an end of a pair sends."""

    __slots__ = ()

    type = LinkType.NETKIT


@maker(ProgType.SCHED_CLS)
def link(call: Call, attr: LinkCreate, prog: Prog) -> int:
    """tcx_link_attach(), netkit_link_attach()."""
    device = device_of(call, attr.target_fd, attr.attach_type)
    more = LinkCreateTcx.decode(call.raw)
    cls = TcxLink if attr.attach_type in _TCX else NetkitLink
    made = cls(call.engine, call.task.creds, prog, attr.attach_type)
    made.device = None
    entries = device.tcx.setdefault(attr.attach_type, Mprog())

    def attach() -> None:
        entries.attach(
            call.task, prog, made, None, attr.flags, more.relative_fd, more.expected_revision
        )
        made.device = device

    return finish(call, made, attach)


@hook(*_SIDES)
class Tcx(Hook):
    """PROG_ATTACH, PROG_DETACH and PROG_QUERY on a device."""

    def attach(self, call: Call, attr: ProgAttach, prog: Prog) -> None:
        """tcx_prog_attach(), netkit_prog_attach()."""
        device = device_of(call, attr.target_fd, attr.attach_type)
        old = None
        if attr.attach_flags & REPLACE:
            old = call.task.files.get(attr.replace_bpf_fd, Prog)
            if old.type != prog.type:
                raise err(errno.EINVAL)
        entries = device.tcx.setdefault(attr.attach_type, Mprog())
        entries.attach(
            call.task, prog, None, old, attr.attach_flags, attr.relative_fd,
            attr.expected_revision,
        )  # fmt: skip

    def detach(self, call: Call, attr: ProgAttach, prog: Prog | None) -> None:
        """tcx_prog_detach(), netkit_prog_detach()."""
        device = device_of(call, attr.target_fd, attr.attach_type)
        entries = device.tcx.get(attr.attach_type) or Mprog()
        entries.detach(
            call.task, prog, None, attr.attach_flags, attr.relative_fd, attr.expected_revision
        )

    def query(self, call: Call, attr: ProgQuery) -> None:
        """tcx_prog_query(), netkit_prog_query(), bpf_mprog_query()."""
        device = device_of(call, attr.target_fd, attr.attach_type)
        if attr.query_flags or attr.attach_flags:
            raise err(errno.EINVAL)
        entries = device.tcx.get(attr.attach_type) or Mprog()
        call.put_u32(12, 0)
        call.put_u64(56, entries.revision)
        call.put_u32(24, len(entries.entries))
        progs = [prog.id for prog, _link in entries.entries]
        links = [link.id if link else 0 for _prog, link in entries.entries]
        zeros = [0] * len(progs)
        answer(
            call, attr,
            [(attr.prog_ids, progs), (attr.prog_attach_flags, zeros), (attr.link_ids, links),
             (attr.link_attach_flags, zeros)],
        )  # fmt: skip
