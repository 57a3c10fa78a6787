"""Programs at functions of the kernel or of other programs: fentry, fexit, fmod_ret, LSM hooks and
extensions (bpf_tracing_prog_attach(), kernel/bpf/trampoline.c)."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from bpflens.abi.enums import AttachType, LinkType, ProgType
from bpflens.engine.call import U64, err
from bpflens.engine.links.base import Link, finish
from bpflens.engine.progs.prog import Prog
from bpflens.engine.progs.target import check_function

if TYPE_CHECKING:
    from bpflens.engine.call import Call

_FIELDS = struct.Struct("=III")
_MOST = 38
"""BPF_MAX_TRAMP_LINKS."""
_ATTACH = {
    ProgType.TRACING: (AttachType.TRACE_FENTRY, AttachType.TRACE_FEXIT, AttachType.MODIFY_RETURN),
    ProgType.LSM: (AttachType.LSM_MAC,),
    ProgType.EXT: (0,),
}


class TracingLink(Link):
    """A program at a function; `place` is who has the function (a BTF object or program), and its
    type there."""

    __slots__ = ("cookie", "place", "target")

    type = LinkType.TRACING
    cookie: int
    place: tuple[int, int]
    target: Prog | None
    """The other program that the function is of, which this link keeps."""

    def release(self) -> None:
        """bpf_tracing_link_release()."""
        there = self.engine.trampolines[self._key]
        there.remove(self)
        if not there:
            del self.engine.trampolines[self._key]
        if self.target:
            if self._extends:
                self.target.extended = False
            self.target.drop()

    @property
    def _key(self) -> tuple[bool, int, int]:
        return (self.target is not None, *self.place)

    @property
    def _extends(self) -> bool:
        return self.prog is not None and self.prog.type == ProgType.EXT

    def enter(self) -> None:
        """__bpf_trampoline_link_prog(): an extension is there alone, others once each."""
        there = self.engine.trampolines.get(self._key, [])
        if any(other._extends or other.prog is self.prog for other in there):
            raise err(errno.EBUSY)
        if self._extends and there:
            raise err(errno.EBUSY)
        if self._extends and self.target and self.target.slots:
            raise err(errno.EBUSY)
        if len(there) >= _MOST:
            raise err(errno.E2BIG)
        self.engine.trampolines[self._key] = [*there, self]
        if self.target:
            self.target.hold()
            self.target.extended = self.target.extended or self._extends

    def fields(self, call: Call, data: bytearray) -> None:
        """bpf_tracing_link_fill_link_info()."""
        _FIELDS.pack_into(data, 16, self.attach_type, *self.place)
        if call.engine.release.tracing_cookie:
            U64.pack_into(data, 32, self.cookie)

    def lines(self) -> str:
        """bpf_tracing_link_show_fdinfo()."""
        obj, type = self.place
        text = f"attach_type:\t{self.attach_type}\n"
        if self.engine.release.tracing_place:
            text += f"target_obj_id:\t{obj}\ntarget_btf_id:\t{type}\n"
        if self.engine.release.tracing_cookie:
            text += f"cookie:\t{self.cookie}\n"
        return text


def at_function(call: Call, prog: Prog, target_fd: int, btf_id: int, cookie: int) -> int:
    """bpf_tracing_prog_attach(): where the program was loaded for, or another target named here."""
    if prog.attach_type not in _ATTACH[ProgType(prog.type)] or bool(target_fd) != bool(btf_id):
        raise err(errno.EINVAL)
    target = prog.target
    if target_fd:
        if prog.type != ProgType.EXT:
            raise err(errno.EINVAL)
        target = call.task.files.get(target_fd, Prog)
    else:
        btf_id = prog.attach_btf_id
    if not target and not prog.attach_btf:
        raise err(errno.EINVAL)  # its first target was given up when it was attached there
    if target is not prog.target:
        check_function(prog, target, btf_id)
    made = TracingLink(call.engine, call.task.creds, prog, prog.attach_type)
    made.cookie, made.target = cookie, target
    owner = target or prog.attach_btf
    assert owner
    made.place = (owner.id, btf_id)
    linked = finish(call, made, made.enter)
    prog.forget_target()
    return linked
