"""`Link`: an attachment as an object of the kernel, and all that its info tells.

The kernel fills what its type of link has and leaves the rest of the caller's bytes as they were
(bpf_link_get_info_by_fd()). So a field that a kernel of that age does not tell is one in which our
own bytes are still there: that is another thing than zero.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

from bpflens.abi.enums import LinkType, PerfEventType
from bpflens.abi.infos import LINK_INFOS, PERF_LINK_INFOS, IterCgroupLinkInfo, LinkInfo
from bpflens.abi.record import Field, Record
from bpflens.errors import FormatError
from bpflens.model.handle import Handle
from bpflens.model.parts import Missing, Reason
from bpflens.port.memory import Memory

_HEAD = 16
"""Where the part of the union begins that belongs to the type."""

_MARK = bytes.fromhex("5de4f1b1a7c3961f")
"""What stands in the fields that the kernel is to fill."""

_ROOM = 4096
"""Bytes for a name: PATH_MAX, which no other kind of name exceeds. Before 6.9 a perf event's link
does not tell how long its name is."""

_TEXTS = {
    "tp_name": "tp_name_len",
    "target_name": "target_name_len",
    "func_name": "name_len",
    "file_name": "name_len",
    "path": "path_size",
}
"""Pointer to a name → the field with the length of its buffer."""
_PERF_TEXTS = {"tp_name": "name_len"}

_ARRAYS: dict[str, int] = dict.fromkeys(("addrs", "cookies", "offsets", "ref_ctr_offsets"), 8)
_ARRAYS["ids"] = 4
"""Pointers to arrays of `count` items → the bytes of an item."""

_OURS = {"count": "probe_count", "btf_obj_id": "target_obj_id", "ids": "target_btf_ids"}
"""Field of the kernel's → that of `LinkFacts`, where its name says too little there."""

_MOST = 1 << 20
"""MAX_KPROBE_MULTI_CNT, MAX_UPROBE_MULTI_CNT."""

_NO_PERF = Missing(Reason.UNSUPPORTED, "this kernel does not tell where a perf event's link is")
_UNTOLD = Missing(Reason.UNSUPPORTED, "this kernel does not tell it")
_NEW = Missing(Reason.UNSUPPORTED, "bpflens does not know links of this type")
_HIDDEN = Missing(Reason.RESTRICTED, "needs CAP_SYSLOG (kernel.kptr_restrict)")


class LinkFacts(NamedTuple):
    """A link as the kernel tells it; the names are those of struct bpf_link_info.

    A field that links of this type do not have is None; so is one that is not known, which has
    its reason in `missing`.
    """

    id: int
    type: LinkType
    prog_id: int
    """0 where a map holds the programs (struct_ops)."""
    missing: dict[str, Missing]
    raw: bytes | None = None
    """The bytes behind the program's ID, where the type is not known."""
    attach_type: int | None = None
    cookie: int | None = None
    cgroup_id: int | None = None
    """0: the cgroup is gone, and the program runs nowhere. The same is true of ifindex, map_id."""
    ifindex: int | None = None
    netns_ino: int | None = None
    map_id: int | None = None
    tp_name: str | None = None
    target_obj_id: int | None = None
    target_btf_id: int | None = None
    target_btf_ids: list[int] | None = None
    target_name: str | None = None
    order: int | None = None
    tid: int | None = None
    pid: int | None = None
    pf: int | None = None
    hooknum: int | None = None
    priority: int | None = None
    flags: int | None = None
    perf_event_type: PerfEventType | None = None
    func_name: str | None = None
    addr: int | None = None
    offset: int | None = None
    missed: int | None = None
    file_name: str | None = None
    ref_ctr_offset: int | None = None
    config: int | None = None
    event_type: int | None = None
    probe_count: int | None = None
    addrs: list[int] | None = None
    cookies: list[int] | None = None
    path: str | None = None
    offsets: list[int] | None = None
    ref_ctr_offsets: list[int] | None = None


_OF_A_TYPE = LinkFacts._fields[LinkFacts._fields.index("raw") + 1 :]
"""The fields that only some types of links have."""


class Link(Handle[LinkInfo]):
    """A link; `info` has all that there is to know of it."""

    __slots__ = ("_told",)

    kind: ClassVar[str] = "link"
    record = LinkInfo

    def told(self) -> bytes:
        """The link's info without names and arrays, as many bytes as the kernel tells."""
        if self._basic is None:
            self._told = self.system.calls.raw_info(self.fd)
            self._basic = LinkInfo.decode(self._told)
        return self._told

    def basic(self, fresh: bool = False) -> LinkInfo:
        """What every link has. Since: 5.8."""
        if fresh:
            self._basic = None
        self.told()
        return super().basic()

    @property
    def type(self) -> LinkType:
        """The kind of link."""
        return LinkType(self.basic().type)

    def info(self) -> LinkFacts:
        """Everything that the kernel tells: one call, and one more where there are names, arrays
        or a field that only newer kernels fill."""
        told, head, linked = self.told(), self.basic(), self.type
        record = LINK_INFOS.get(linked)
        if record is None:
            unknown = dict.fromkeys(_OF_A_TYPE, _NEW)
            return LinkFacts(head.id, linked, head.prog_id, unknown, told[LinkInfo.__size__ :])
        if linked is LinkType.PERF_EVENT:
            perf = PerfEventType(int.from_bytes(told[_HEAD : _HEAD + 4], sys.byteorder))
            if perf not in PERF_LINK_INFOS:  # before 6.6 nothing is filled
                return LinkFacts(head.id, linked, head.prog_id, _no_perf())
            record = PERF_LINK_INFOS[perf]
            values, missing = _read(self, record)
            values["perf_event_type"] = perf
        else:
            values, missing = _read(self, record)
        for table in (values, missing):
            for theirs, ours in _OURS.items():
                if theirs in table:
                    table[ours] = table.pop(theirs)
        return LinkFacts(head.id, linked, head.prog_id, missing, **values)

    def detach(self) -> None:
        """Take the program off; the link stays, and does nothing. Raises Unsupported where links
        of this type end only when nothing holds them. Since: 5.9."""
        self.system.calls.link_detach(self.fd)


def _read(link: Link, record: type[Record]) -> tuple[dict[str, Any], dict[str, Missing]]:
    """The fields of the link's own part, and why some are missing."""
    told = link.told()
    pointers = [f for f in record.__layout__.values() if f.kind == "Ptr" and f.end <= len(told)]
    values = _fields(record, told)
    if pointers:
        return _ask(link, record, pointers)
    if link.type is LinkType.TRACING and values.get("cookie") == 0:
        # Zero, or a kernel that is too old to fill it: asked once for all links of that type.
        if link.system.tracing_cookies is None:
            link.system.tracing_cookies = "cookie" in _ask(link, record, [])[0]
        if not link.system.tracing_cookies:
            del values["cookie"]
            return values, {"cookie": _UNTOLD}
    return values, {}


def _ask(
    link: Link, record: type[Record], pointers: list[Field]
) -> tuple[dict[str, Any], dict[str, Missing]]:
    """The same by a second call, with buffers for what the pointers ask for."""
    told, layout = link.told(), record.__layout__
    count = int(_fields(record, told).get("count") or 0)
    if "count" in layout and not count:  # before 6.6 nothing of many probes is told
        return _from_fdinfo(link, record)
    if count > _MOST:
        raise FormatError(f"a link to {count} places: there can be {_MOST}", 24)
    asked = bytearray((bytes(_HEAD) + _MARK * (len(told) // 8))[: len(told)])
    texts = _TEXTS | (_PERF_TEXTS if link.type is LinkType.PERF_EVENT else {})
    buffers: dict[str, bytearray] = {}
    mem = Memory()
    for field in pointers:
        if field.name in _ARRAYS:
            buffer, length, room = bytearray(_MARK[: _ARRAYS[field.name]] * count), "count", count
        else:
            buffer, length, room = bytearray(_ROOM), texts[field.name], _ROOM
        buffers[field.name] = buffer
        _put(asked, field, mem.pin(buffer))
        _put(asked, layout[length], room)
    answer = bytes(asked[: link.system.calls.info_into(link.fd, asked, mem)])
    values, missing = _filled(link, record, answer, buffers)
    for name in set(values) & set(texts.values()):
        del values[name]  # the length of a name
    for name, buffer in buffers.items():
        if name not in _ARRAYS:
            values[name] = buffer.partition(b"\0")[0].decode(errors="surrogateescape")
        elif _MARK.startswith(bytes(buffer[: _ARRAYS[name]])):
            missing[name] = _UNTOLD
        else:
            items = memoryview(buffer).cast("Q" if _ARRAYS[name] == 8 else "I")
            values[name] = items.tolist()
    if values.get("addr") == 0 or not any(values.get("addrs", (1,))):
        # kallsyms_show_value(): addresses are zeros for who may not see them
        hidden = "addrs" if "addrs" in values else "addr"
        del values[hidden]
        missing[hidden] = _HIDDEN
    return values, missing


def _from_fdinfo(link: Link, record: type[Record]) -> tuple[dict[str, Any], dict[str, Missing]]:
    """The same of many places where the info tells nothing of them: what fdinfo tells, which is
    most of it for tracing_multi, of which infos tell since 7.3."""
    from bpflens.model import fdinfolink  # for links that the kernel tells little of

    values = fdinfolink.many(link.system.host.fdinfo(link.fd))
    return values, {name: _UNTOLD for name in _told_by([record]) if name not in values}


def _no_perf() -> dict[str, Missing]:
    """Why nothing is known of where a perf event's link is."""
    return dict.fromkeys(["perf_event_type", *_told_by(PERF_LINK_INFOS.values())], _NO_PERF)


def _told_by(records: Iterable[type[Record]]) -> list[str]:
    """The fields of `LinkFacts` that these infos would fill."""
    names = (_OURS.get(name, name) for record in records for name in record.__layout__)
    return [name for name in dict.fromkeys(names) if name in _OF_A_TYPE]


def _filled(
    link: Link, record: type[Record], answer: bytes, buffers: dict[str, bytearray]
) -> tuple[dict[str, Any], dict[str, Missing]]:
    """The numbers that the kernel wrote, and the fields that it left as they were."""
    if buffers.get("target_name", b"").startswith(b"cgroup\0"):
        record = IterCgroupLinkInfo
    values = _fields(record, answer)
    missing: dict[str, Missing] = {}
    for name in list(values):
        field = record.__layout__[name]
        if all(answer[at] == _MARK[at % 8] for at in range(field.offset, field.end)):
            del values[name]
            if link.type is not LinkType.ITER:  # a target has parameters of its own, or none
                missing[name] = _UNTOLD
    return values, missing


def _fields(record: type[Record], told: bytes) -> dict[str, Any]:
    """The numbers of the link's own part, as far as the kernel tells them."""
    names, take = _numbers(record, len(told))
    return dict(zip(names, take(record.decode(told)), strict=True)) if names else {}


@lru_cache
def _numbers(record: type[Record], size: int) -> tuple[list[str], Callable[[Record], Any]]:
    """The fields of the link's own part that are numbers and end within `size`; what takes them."""
    names = [
        name
        for name, field in record.__layout__.items()
        if LinkInfo.__size__ <= field.offset
        and field.end <= size
        and field.kind != "Ptr"
        and not name.startswith("pad_")
    ]
    return names, lambda decoded: [getattr(decoded, name) for name in names]


def _put(buffer: bytearray, field: Field, value: int) -> None:
    buffer[field.offset : field.end] = value.to_bytes(field.size, sys.byteorder)
