"""Attaching, detaching and asking what is attached, in one line each."""

from __future__ import annotations

from typing import NamedTuple

from bpflens.abi.attrs import (
    LinkCreateKprobeMulti,
    LinkCreateTcx,
    LinkCreateUprobeMulti,
    LinkDetach,
    LinkUpdate,
    ProgAttach,
    ProgQuery,
)
from bpflens.abi.enums import AttachType, Cmd
from bpflens.abi.infos import LinkInfo, ProgInfo
from bpflens.errors import SyscallError
from bpflens.port.calls import Calls
from bpflens.port.memory import Memory
from bpflens.testing.builders import u64

REPLACE, BEFORE, AFTER, ID, LINK, PREORDER = 4, 8, 16, 32, 0x2000, 64
"""BPF_F_* of attaching."""


def id_of(calls: Calls, prog: int) -> int:
    """A program's id."""
    return calls.info(prog, ProgInfo).id


def link_id(calls: Calls, link: int) -> int:
    """A link's id."""
    return calls.info(link, LinkInfo).id


class Hook(NamedTuple):
    """A place to attach to."""

    calls: Calls
    target: int
    """fd or device index."""
    type: AttachType

    def attach(self, prog: int, flags: int = 0, **fields: int) -> None:
        """PROG_ATTACH."""
        self.calls.prog_attach(
            ProgAttach(
                target_fd=self.target,
                attach_bpf_fd=prog,
                attach_type=self.type,
                attach_flags=flags,
                **fields,
            )
        )

    def detach(self, prog: int = 0, flags: int = 0, **fields: int) -> None:
        """PROG_DETACH."""
        attr = ProgAttach(
            target_fd=self.target,
            attach_bpf_fd=prog,
            attach_type=self.type,
            attach_flags=flags,
            **fields,
        )
        self.calls.call(Cmd.PROG_DETACH, attr)

    def link(self, prog: int, flags: int = 0, relative: int = 0, revision: int = 0) -> int:
        """LINK_CREATE."""
        return self.calls.link_create(
            LinkCreateTcx(
                prog_fd=prog,
                target_fd=self.target,
                attach_type=self.type,
                flags=flags,
                relative_fd=relative,
                expected_revision=revision,
            )
        )

    def query(self, room: int = 8, flags: int = 0, *, whole: bool = False) -> Answer:
        """PROG_QUERY; `whole` with all that Linux 6.6 and later tell: links and revision."""
        mem = Memory()
        ids, links = bytearray(b"\xee" * 4 * room), bytearray(b"\xee" * 4 * room)
        attr = ProgQuery(
            target_fd=self.target,
            attach_type=self.type,
            query_flags=flags,
            prog_cnt=room,
        )
        attr.prog_ids = mem.pin(ids)
        if whole:
            attr.link_ids, attr.revision = mem.pin(links), 0xEE
        code = 0
        try:
            self.calls.call(Cmd.PROG_QUERY, attr, mem)
        except SyscallError as error:
            code = error.errno or 0
        shown = min(attr.prog_cnt, room)
        return Answer(
            code, attr.prog_cnt, _numbers(ids)[:shown], _numbers(links)[:shown],
            attr.attach_flags, attr.revision,
        )  # fmt: skip

    def ids(self, flags: int = 0) -> list[int]:
        """The ids of the programs that are attached, in order."""
        found = self.query(70, flags)
        assert found.code == 0, found
        return found.ids


class Answer(NamedTuple):
    """What a query told; 0xee where it told nothing."""

    code: int
    total: int
    ids: list[int]
    links: list[int]
    flags: int
    revision: int


def _numbers(data: bytearray) -> list[int]:
    return [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4)]


def update(calls: Calls, link: int, new: int, flags: int = 0, old: int = 0) -> None:
    """LINK_UPDATE."""
    attr = LinkUpdate(link_fd=link, new_prog_fd=new, flags=flags, old_prog_fd=old)
    calls.call(Cmd.LINK_UPDATE, attr)


def detach_link(calls: Calls, link: int) -> None:
    """LINK_DETACH."""
    calls.call(Cmd.LINK_DETACH, LinkDetach(link_fd=link))


# --- probes


def _pinned(mem: Memory, numbers: list[int] | None) -> int:
    return mem.pin(bytearray(u64(*numbers))) if numbers is not None else 0


def link_functions(
    calls: Calls, prog: int, names: list[str] | None, cookies: list[int] | None = None, *,
    addresses: list[int] | None = None, **fields: int,
) -> int:  # fmt: skip
    """A link of a program (KPROBE, for TRACE_KPROBE_MULTI) to functions of the kernel, by name or
    by address. `fields` are others of the attr: kprobe_multi_flags=1 is for their returns."""
    mem = Memory()
    attr = LinkCreateKprobeMulti(
        prog_fd=prog,
        attach_type=AttachType.TRACE_KPROBE_MULTI,
        cnt=len(names or addresses or ()),
        addrs=_pinned(mem, addresses),
        cookies=_pinned(mem, cookies),
    )
    if names is not None:
        texts = [mem.pin(bytearray(name.encode() + b"\0")) for name in names]
        attr.syms = _pinned(mem, texts)
    for field, value in fields.items():
        setattr(attr, field, value)
    return calls.link_create(attr, mem)


def link_places(
    calls: Calls, prog: int, path: str, offsets: list[int], cookies: list[int] | None = None,
    counters: list[int] | None = None, **fields: int,
) -> int:  # fmt: skip
    """A link of a program (KPROBE, for TRACE_UPROBE_MULTI) to places of a file. `counters` are the
    offsets of their semaphores; uprobe_multi_flags=1 is for returns, pid for one process."""
    mem = Memory()
    attr = LinkCreateUprobeMulti(
        prog_fd=prog,
        attach_type=AttachType.TRACE_UPROBE_MULTI,
        path=mem.pin(bytearray(path.encode() + b"\0")),
        offsets=_pinned(mem, offsets),
        cookies=_pinned(mem, cookies),
        ref_ctr_offsets=_pinned(mem, counters),
        cnt=len(offsets),
    )
    for field, value in fields.items():
        setattr(attr, field, value)
    return calls.link_create(attr, mem)
