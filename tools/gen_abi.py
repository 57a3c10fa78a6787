"""Write `src/bpflens/abi/{enums,attrs,infos}.py` from the kernel's own BTF.

    python tools/gen_abi.py                 regenerate from the committed BTF
    python tools/gen_abi.py --check         exit 1 where a file is not what would be generated
    python tools/gen_abi.py --pin vmlinux 7.3
                                            first take the ABI's types out of that BTF file,
                                            /sys/kernel/btf/vmlinux of Linux 7.3, and commit to them

`union bpf_attr` and `struct bpf_link_info` are unions: one C type for forty commands. The tables
below name, for each command and variant, the part of the union that it uses; everything else
(fields, order, sizes) comes from BTF. A name that the kernel no longer has is an error here, so
a new kernel cannot change a layout without being noticed.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from bpflens.btf.build import copy
from bpflens.btf.parse import Btf
from bpflens.btf.types import Array, Enum, Enum64, Int, Struct, Union

ROOT = Path(__file__).resolve().parent.parent
PINNED = ROOT / "tools" / "abi"
"""Where the one BTF file is from which all is generated: `linux-RELEASE.btf`."""
ABI = ROOT / "src" / "bpflens" / "abi"


class EnumSpec(NamedTuple):
    """One Python enum: its name, the C enum (or a member of an anonymous one), the C prefix."""

    name: str
    c_name: str
    prefix: str
    doc: str
    flags: bool = False


ENUMS = (
    EnumSpec("Cmd", "bpf_cmd", "BPF_", "Commands of bpf(2)."),
    EnumSpec("MapType", "bpf_map_type", "BPF_MAP_TYPE_", "Kinds of maps."),
    EnumSpec("ProgType", "bpf_prog_type", "BPF_PROG_TYPE_", "Kinds of programs."),
    EnumSpec("AttachType", "bpf_attach_type", "BPF_", "Where a program can be attached."),
    EnumSpec("LinkType", "bpf_link_type", "BPF_LINK_TYPE_", "Kinds of links."),
    EnumSpec("PerfEventType", "bpf_perf_event_type", "BPF_PERF_EVENT_", "Kinds of perf links."),
    EnumSpec("TaskFdType", "bpf_task_fd_type", "BPF_FD_TYPE_", "What TASK_FD_QUERY found."),
    EnumSpec("StatsType", "bpf_stats_type", "BPF_STATS_", "What ENABLE_STATS counts."),
    EnumSpec("StreamId", "bpf_stream_id", "BPF_", "Streams of a program."),
    EnumSpec("MapFlag", "BPF_F_NO_PREALLOC", "BPF_F_", "Flags of MAP_CREATE.", flags=True),
)


NO_MEMBERS = ("BPF_COMMON_ATTRS",)
"""Values in an enum that are none of it: a bit that goes with any command, here."""


class Variant(NamedTuple):
    """One record: which part of a C union it takes.

    part: the named member, or the first field of the anonymous struct, to take.
    choose: the members to take of the unions inside; a dotted name goes into a named struct.
    until: the last field to take (None: all).
    """

    name: str
    part: str
    doc: str
    choose: tuple[str, ...] = ()
    until: str | None = None


ATTRS = (
    Variant("MapCreate", "map_type", "MAP_CREATE."),
    Variant("MapElem", "map_fd", "MAP_LOOKUP_ELEM, _UPDATE_, _LOOKUP_AND_DELETE_.", ("value",)),
    Variant("MapDeleteElem", "map_fd", "MAP_DELETE_ELEM.", until="key"),
    Variant("MapNextKey", "map_fd", "MAP_GET_NEXT_KEY.", ("next_key",), "next_key"),
    Variant("MapFreeze", "map_fd", "MAP_FREEZE.", until="map_fd"),
    Variant("MapBatch", "batch", "The four MAP_*_BATCH commands."),
    Variant("ProgLoad", "prog_type", "PROG_LOAD.", ("attach_prog_fd",)),
    Variant("ObjPath", "pathname", "OBJ_PIN and OBJ_GET."),
    Variant(
        "ProgAttach", "target_fd", "PROG_ATTACH and PROG_DETACH.", ("target_fd", "relative_fd")
    ),
    Variant("ProgTestRun", "test", "PROG_TEST_RUN."),
    Variant("NextId", "start_id", "The four *_GET_NEXT_ID commands.", ("start_id",), "next_id"),
    Variant("ProgById", "start_id", "PROG_GET_FD_BY_ID.", ("prog_id",), "prog_id"),
    Variant("MapById", "start_id", "MAP_GET_FD_BY_ID.", ("map_id",), "open_flags"),
    Variant("BtfById", "start_id", "BTF_GET_FD_BY_ID.", ("btf_id",), "fd_by_id_token_fd"),
    Variant("LinkById", "start_id", "LINK_GET_FD_BY_ID.", ("link_id",), "link_id"),
    Variant("ObjInfo", "info", "OBJ_GET_INFO_BY_FD."),
    Variant("ProgQuery", "query", "PROG_QUERY.", ("target_fd", "prog_cnt")),
    Variant("RawTracepointOpen", "raw_tracepoint", "RAW_TRACEPOINT_OPEN."),
    Variant("BtfLoad", "btf", "BTF_LOAD."),
    Variant("TaskFdQuery", "task_fd_query", "TASK_FD_QUERY."),
    Variant(
        "LinkCreate",
        "link_create",
        "LINK_CREATE where the kind of link takes no more.",
        ("prog_fd", "target_fd"),
        "flags",
    ),
    *(
        Variant(
            f"LinkCreate{name}",
            "link_create",
            f"LINK_CREATE of a {what}.",
            ("prog_fd", "target_fd", *choose),
        )
        for name, what, choose in (
            ("Iter", "iterator", ("iter_info",)),
            ("PerfEvent", "perf event", ("perf_event",)),
            ("KprobeMulti", "kprobe_multi", ("kprobe_multi",)),
            ("Tracing", "tracing program", ("tracing",)),
            ("Netfilter", "netfilter hook", ("netfilter",)),
            ("Tcx", "tcx program", ("tcx", "relative_fd")),
            ("UprobeMulti", "uprobe_multi", ("uprobe_multi",)),
            ("Netkit", "netkit program", ("netkit", "relative_fd")),
            ("Cgroup", "cgroup program", ("cgroup", "relative_fd")),
            ("TracingMulti", "tracing program at many functions", ("tracing_multi",)),
        )
    ),
    Variant("LinkUpdate", "link_update", "LINK_UPDATE.", ("new_prog_fd", "old_prog_fd")),
    Variant("LinkDetach", "link_detach", "LINK_DETACH."),
    Variant("EnableStats", "enable_stats", "ENABLE_STATS."),
    Variant("IterCreate", "iter_create", "ITER_CREATE."),
    Variant("ProgBindMap", "prog_bind_map", "PROG_BIND_MAP."),
    Variant("TokenCreate", "token_create", "TOKEN_CREATE."),
    Variant("ProgStreamRead", "prog_stream_read", "PROG_STREAM_READ_BY_FD."),
    Variant("ProgAssocStructOps", "prog_assoc_struct_ops", "PROG_ASSOC_STRUCT_OPS. Since: 7.0."),
)

COMMANDS = {
    "MAP_CREATE": "MapCreate",
    "MAP_LOOKUP_ELEM": "MapElem",
    "MAP_UPDATE_ELEM": "MapElem",
    "MAP_DELETE_ELEM": "MapDeleteElem",
    "MAP_GET_NEXT_KEY": "MapNextKey",
    "PROG_LOAD": "ProgLoad",
    "OBJ_PIN": "ObjPath",
    "OBJ_GET": "ObjPath",
    "PROG_ATTACH": "ProgAttach",
    "PROG_DETACH": "ProgAttach",
    "PROG_TEST_RUN": "ProgTestRun",
    "PROG_GET_NEXT_ID": "NextId",
    "MAP_GET_NEXT_ID": "NextId",
    "PROG_GET_FD_BY_ID": "ProgById",
    "MAP_GET_FD_BY_ID": "MapById",
    "OBJ_GET_INFO_BY_FD": "ObjInfo",
    "PROG_QUERY": "ProgQuery",
    "RAW_TRACEPOINT_OPEN": "RawTracepointOpen",
    "BTF_LOAD": "BtfLoad",
    "BTF_GET_FD_BY_ID": "BtfById",
    "TASK_FD_QUERY": "TaskFdQuery",
    "MAP_LOOKUP_AND_DELETE_ELEM": "MapElem",
    "MAP_FREEZE": "MapFreeze",
    "BTF_GET_NEXT_ID": "NextId",
    "MAP_LOOKUP_BATCH": "MapBatch",
    "MAP_LOOKUP_AND_DELETE_BATCH": "MapBatch",
    "MAP_UPDATE_BATCH": "MapBatch",
    "MAP_DELETE_BATCH": "MapBatch",
    "LINK_CREATE": "LinkCreate",
    "LINK_UPDATE": "LinkUpdate",
    "LINK_GET_FD_BY_ID": "LinkById",
    "LINK_GET_NEXT_ID": "NextId",
    "ENABLE_STATS": "EnableStats",
    "ITER_CREATE": "IterCreate",
    "LINK_DETACH": "LinkDetach",
    "PROG_BIND_MAP": "ProgBindMap",
    "TOKEN_CREATE": "TokenCreate",
    "PROG_STREAM_READ_BY_FD": "ProgStreamRead",
    "PROG_ASSOC_STRUCT_OPS": "ProgAssocStructOps",
}

INFOS = (
    ("ProgInfo", "bpf_prog_info", "A program, as OBJ_GET_INFO_BY_FD tells it."),
    ("MapInfo", "bpf_map_info", "A map, as OBJ_GET_INFO_BY_FD tells it."),
    ("BtfInfo", "bpf_btf_info", "A BTF object, as OBJ_GET_INFO_BY_FD tells it."),
    ("TokenInfo", "bpf_token_info", "A BPF token, as OBJ_GET_INFO_BY_FD tells it."),
)

LINK_HEAD = ("type", "id", "prog_id")

LINKS = (
    ("RAW_TRACEPOINT", Variant("RawTracepointLinkInfo", "raw_tracepoint", "")),
    ("TRACING", Variant("TracingLinkInfo", "tracing", "")),
    ("CGROUP", Variant("CgroupLinkInfo", "cgroup", "")),
    ("ITER", Variant("IterLinkInfo", "iter", "", ("map", "task"))),
    ("NETNS", Variant("NetnsLinkInfo", "netns", "")),
    ("XDP", Variant("XdpLinkInfo", "xdp", "")),
    ("STRUCT_OPS", Variant("StructOpsLinkInfo", "struct_ops", "")),
    ("NETFILTER", Variant("NetfilterLinkInfo", "netfilter", "")),
    ("KPROBE_MULTI", Variant("KprobeMultiLinkInfo", "kprobe_multi", "")),
    ("UPROBE_MULTI", Variant("UprobeMultiLinkInfo", "uprobe_multi", "")),
    ("TCX", Variant("TcxLinkInfo", "tcx", "")),
    ("NETKIT", Variant("NetkitLinkInfo", "netkit", "")),
    ("SOCKMAP", Variant("SockmapLinkInfo", "sockmap", "")),
    ("TRACING_MULTI", Variant("TracingMultiLinkInfo", "tracing_multi", "")),
)

LINK_VARIANTS = (
    ("IterCgroupLinkInfo", Variant("", "iter", "An iterator over cgroups.", ("map", "cgroup"))),
    ("PerfUprobeLinkInfo", Variant("", "perf_event", "A uprobe or uretprobe.", ("uprobe",))),
    ("PerfKprobeLinkInfo", Variant("", "perf_event", "A kprobe or kretprobe.", ("kprobe",))),
    ("PerfTracepointLinkInfo", Variant("", "perf_event", "A tracepoint.", ("tracepoint",))),
    ("PerfEventLinkInfo", Variant("", "perf_event", "Another perf event.", ("event",))),
)

POINTERS = frozenset(
    "insns license log_buf func_info line_info fd_array core_relos signature pathname key value "
    "next_key in_batch out_batch keys ids values data_in data_out ctx_in ctx_out info prog_ids "
    "prog_attach_flags link_ids link_attach_flags btf btf_log_buf buf iter_info syms addrs cookies "
    "path offsets ref_ctr_offsets stream_buf excl_prog_hash jited_prog_insns xlated_prog_insns "
    "map_ids jited_ksyms jited_func_lens jited_line_info prog_tags hash tp_name target_name "
    "file_name func_name".split()
)
"""u64 fields that hold addresses, where their C type does not say so. `name` depends: see below."""

POINTER_NAMES = frozenset({"RawTracepointOpen", "BtfInfo"})
"""Records whose `name` is an address and not the characters."""


class Flat(NamedTuple):
    """A field of a record: name, byte offset, annotation, comment."""

    name: str
    offset: int
    kind: str
    comment: str = ""
    owner: str = ""


def kind_of(btf: Btf, name: str, type_id: int, record: str) -> str:
    """The annotation for a C type."""
    t = btf.strip(type_id)
    if isinstance(t, Array):
        return {16: "Name16", 8: "Tag8"}[t.nelems]
    if not isinstance(t, Int):
        raise SystemExit(f"{record}.{name}: no annotation for {type(t).__name__}")
    if name.endswith("_fd"):
        return "Fd"
    if t.size == 8:
        pointer = name in POINTERS or (name == "name" and record in POINTER_NAMES)
        return "Ptr" if pointer else "U64"
    return {1: "U8", 4: "S32" if t.encoding & 1 else "U32"}[t.size]


def flatten(
    btf: Btf, type_id: int, variant: Variant, record: str, base: int = 0, owner: str = ""
) -> list[Flat]:
    """The fields of a struct with its unions resolved, offsets from the record's start."""
    t = btf.strip(type_id)
    assert isinstance(t, Struct | Union), f"{record}: not a struct"
    fields: list[Flat] = []
    for member in t.members:
        inner = btf.strip(member.type_id)
        at = base + member.bit_offset // 8
        if isinstance(inner, Union):
            fields += choose(btf, inner, variant, record, at)
        elif isinstance(inner, Struct):
            fields += flatten(btf, inner.id, variant, record, at, member.name or owner)
        else:
            bits = f"{member.bitfield_size} bit" if member.bitfield_size else ""
            kind = kind_of(btf, member.name, member.type_id, record)
            fields.append(Flat(member.name, at, kind, bits, owner))
    return fields


def choose(btf: Btf, union: Union, variant: Variant, record: str, at: int) -> list[Flat]:
    """The member of a union that the variant's `choose` names."""
    for member in union.members:
        inner = btf.strip(member.type_id)
        if isinstance(inner, Struct | Union):
            wanted = (
                member.name in variant.choose
                if member.name
                else (inner.members[0].name in variant.choose)
            )
            if wanted:
                return flatten(btf, inner.id, variant, record, at, member.name)
        elif member.name in variant.choose:
            return [Flat(member.name, at, kind_of(btf, member.name, member.type_id, record))]
    if variant.until is not None:
        return []
    names = ", ".join(m.name or "{…}" for m in union.members)
    raise SystemExit(f"{record}: no choice for the union of {names}")


def part_of(btf: Btf, union_id: int, part: str) -> tuple[int, int]:
    """(type id, byte offset) of a union's named member, or of the struct that begins with it."""
    union = btf[union_id]
    assert isinstance(union, Struct | Union)
    for member in union.members:
        inner = btf.strip(member.type_id)
        if not isinstance(inner, Struct | Union):
            continue
        if member.name == part:
            return inner.id, member.bit_offset // 8
        if not member.name and isinstance(inner, Struct) and part in first_names(btf, inner):
            return inner.id, member.bit_offset // 8
    for member in union.members:  # bpf_link_info: the union of all kinds is itself anonymous
        inner = btf.strip(member.type_id)
        if not member.name and isinstance(inner, Union):
            found, offset = part_of(btf, inner.id, part)
            return found, offset + member.bit_offset // 8
    raise SystemExit(f"no part {part!r} in {union.name}")


def first_names(btf: Btf, t: Struct | Union) -> set[str]:
    """The name of a struct's first field; all of them where that is a union."""
    first = t.members[0]
    inner = btf.strip(first.type_id)
    if isinstance(inner, Union):
        return {m.name for m in inner.members}
    return {first.name}


def cut(fields: list[Flat], until: str | None, record: str) -> list[Flat]:
    """The fields up to and including `until`."""
    if until is None:
        return fields
    names = [f.name for f in fields]
    if until not in names:
        raise SystemExit(f"{record}: no field {until!r}")
    return fields[: names.index(until) + 1]


def distinct(fields: list[Flat]) -> list[Flat]:
    """The fields with unique names: one whose name is taken gets its struct's name before it."""
    seen: set[str] = set()
    result = []
    for f in fields:
        name = f"{f.owner}_{f.name}" if f.name in seen else f.name
        seen.add(name)
        result.append(f._replace(name=name))
    return result


SIZES = {"U8": 1, "U32": 4, "S32": 4, "Fd": 4, "U64": 8, "Ptr": 8, "Name16": 16, "Tag8": 8}


def record_source(name: str, doc: str, fields: list[Flat], size: int | None = None) -> str:
    """The text of one record class; `size` defaults to the end of its last field."""
    fields = distinct(fields)
    end = fields[-1].offset + SIZES[fields[-1].kind]
    lines = [f"class {name}(Record, size={size or end}):", f'    """{doc}"""', ""]
    at = 0
    for f in fields:
        align = 1 if f.kind in ("Name16", "Tag8") else SIZES[f.kind]
        natural = -(-at // align) * align
        if natural != f.offset:
            if f.offset - natural != 4:
                raise SystemExit(f"{name}.{f.name}: a hole of {f.offset - natural} bytes")
            lines.append(f"    pad_{natural}: U32 = 0")
        default = 'b""' if f.kind in ("Name16", "Tag8") else "0"
        comment = f"  # {f.comment}" if f.comment else ""
        lines.append(f"    {f.name}: {f.kind} = {default}{comment}")
        at = f.offset + SIZES[f.kind]
    return "\n".join(lines) + "\n"


HEADER = (
    '"""{doc}\n\nGenerated by tools/gen_abi.py from the BTF of Linux {release}; '
    'do not edit.\n"""\n\n'
)


def enum_members(btf: Btf, spec: EnumSpec) -> list[tuple[str, int]]:
    """The values of a C enum by their short names, without sentinels and deprecated aliases."""
    found: Enum | Enum64 | None
    if spec.c_name.isupper():
        found = next(
            t
            for t in map(btf.__getitem__, btf.ids())
            if isinstance(t, Enum | Enum64) and any(n == spec.c_name for n, _ in t.values)
        )
    else:
        found = btf.find(spec.c_name, Enum)
    if found is None:
        raise SystemExit(f"no enum {spec.c_name}")
    return [
        (name.removeprefix(spec.prefix), value)
        for name, value in found.values
        if not re.match(r"__|MAX_", name)
        and not name.endswith("_DEPRECATED")
        and name not in NO_MEMBERS
    ]


def enums_source(btf: Btf, release: str) -> str:
    """The text of enums.py."""
    text = HEADER.format(doc="Enums and flag sets of bpf(2).", release=release)
    text += "from bpflens.abi.word import FlagWord, Word\n"
    for spec in ENUMS:
        base = "FlagWord" if spec.flags else "Word"
        origin = f"enum {spec.c_name}" if not spec.flags else f"the enum of {spec.c_name}"
        text += f'\n\nclass {spec.name}({base}):\n    """{spec.doc[:-1]} ({origin})."""\n\n'
        for name, value in enum_members(btf, spec):
            text += f"    {name} = {hex(value) if spec.flags else value}\n"
    return text


IMPORTS = "from __future__ import annotations\n\n"


def imports(body: str) -> str:
    kinds = sorted({k for k in (*SIZES, "Record") if re.search(rf"\b{k}\b", body)})
    enums = sorted(set(re.findall(r"\b(Cmd|LinkType|PerfEventType)\.", body)))
    text = IMPORTS
    if enums:
        text += f"from bpflens.abi.enums import {', '.join(enums)}\n"
    return text + f"from bpflens.abi.record import {', '.join(kinds)}\n"


def attrs_source(btf: Btf, release: str) -> str:
    """The text of attrs.py."""
    union = btf.find("bpf_attr", Union)
    assert union is not None
    body = ""
    for variant in ATTRS:
        type_id, offset = part_of(btf, union.id, variant.part)
        fields = cut(
            flatten(btf, type_id, variant, variant.name, offset), variant.until, variant.name
        )
        body += "\n\n" + record_source(variant.name, variant.doc, fields)
    body += f"\n\nATTR_SIZE = {union.size}\n"
    body += '"""sizeof(union bpf_attr): longer attrs must end in zeros."""\n'
    body += "\nATTRS: dict[Cmd, type[Record]] = {\n"
    body += "".join(f"    Cmd.{cmd}: {name},\n" for cmd, name in COMMANDS.items())
    body += (
        '}\n"""Command → the record of its attr (LINK_CREATE: the part that all kinds share)."""\n'
    )
    doc = "The attr of each command of bpf(2): one record for each command and variant."
    return HEADER.format(doc=doc, release=release) + imports(body) + body


def infos_source(btf: Btf, release: str) -> str:
    """The text of infos.py."""
    body = ""
    for name, c_name, doc in INFOS:
        found = btf.find(c_name, Struct)
        assert found is not None, c_name
        fields = flatten(btf, found.id, Variant(name, "", ""), name)
        body += "\n\n" + record_source(name, doc, fields, found.size)
    link = btf.find("bpf_link_info", Struct)
    assert link is not None
    head = [
        Flat(m.name, m.bit_offset // 8, kind_of(btf, m.name, m.type_id, "LinkInfo"))
        for m in link.members
        if m.name
    ]
    assert tuple(f.name for f in head) == LINK_HEAD
    body += "\n\n" + record_source("LinkInfo", "What every link has.", head)
    body += f"\n\nLINK_INFO_SIZE = {link.size}\n"
    body += '"""sizeof(struct bpf_link_info): the room that every kind of link fits in."""\n'
    named = [(v.name, v._replace(doc=f"A link of type {k.lower()}.")) for k, v in LINKS]
    for name, variant in (*named, *LINK_VARIANTS):
        type_id, offset = part_of(btf, link.id, variant.part)
        fields = flatten(btf, type_id, variant, name, offset, variant.part)
        body += "\n\n" + record_source(name, variant.doc, [*head, *fields])
    body += "\n\nLINK_INFOS: dict[LinkType, type[Record]] = {\n"
    body += "".join(f"    LinkType.{key}: {v.name},\n" for key, v in LINKS)
    body += "    LinkType.PERF_EVENT: PerfEventLinkInfo,\n}\n"
    body += '"""Link type → its record; perf events have one more for each kind, below."""\n'
    body += "\nPERF_LINK_INFOS: dict[PerfEventType, type[Record]] = {\n"
    for key, name in (
        ("UPROBE", "PerfUprobeLinkInfo"),
        ("URETPROBE", "PerfUprobeLinkInfo"),
        ("KPROBE", "PerfKprobeLinkInfo"),
        ("KRETPROBE", "PerfKprobeLinkInfo"),
        ("TRACEPOINT", "PerfTracepointLinkInfo"),
        ("EVENT", "PerfEventLinkInfo"),
    ):
        body += f"    PerfEventType.{key}: {name},\n"
    body += "}\n"
    doc = "What OBJ_GET_INFO_BY_FD tells of each kind of object."
    return HEADER.format(doc=doc, release=release) + imports(body) + body


def pinned() -> tuple[Path, str]:
    """The BTF file that is committed to, and which Linux it is of."""
    (path,) = PINNED.glob("linux-*.btf")
    return path, path.stem.removeprefix("linux-")


def pin(source: Path, release: str) -> None:
    """Commit to the ABI's types of a vmlinux BTF: a few kilobytes of the five megabytes."""
    btf = Btf.parse(source.read_bytes())
    roots = []
    for name in ("bpf_attr",):
        found = btf.find(name, Union)
        assert found is not None
        roots.append(found.id)
    for name in ("bpf_link_info", *(c for _, c, _ in INFOS)):
        struct = btf.find(name, Struct)
        assert struct is not None, name
        roots.append(struct.id)
    for spec in ENUMS:
        if spec.c_name.isupper():
            roots.append(
                next(
                    i
                    for i in btf.ids()
                    if isinstance(t := btf[i], Enum | Enum64)
                    and any(n == spec.c_name for n, _ in t.values)
                )
            )
        else:
            enum = btf.find(spec.c_name, Enum)
            assert enum is not None, spec.c_name
            roots.append(enum.id)
    for before in PINNED.glob("linux-*.btf"):
        before.unlink()
    (PINNED / f"linux-{release}.btf").write_bytes(copy(btf, roots, cut=True))


def formatted(text: str) -> str:
    """The text as ruff formats it, so that a generated file passes the same checks."""
    for command in (["check", "--quiet", "--select", "I", "--fix"], ["format"]):
        done = subprocess.run(
            ["ruff", *command, "--stdin-filename", "src/bpflens/abi/generated.py", "-"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
        text = done.stdout
    return text


def sources(btf: Btf, release: str) -> dict[Path, str]:
    """File → the text that it should hold."""
    made = {"enums.py": enums_source, "attrs.py": attrs_source, "infos.py": infos_source}
    return {ABI / name: formatted(make(btf, release)) for name, make in made.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 on a change")
    parser.add_argument(
        "--pin", nargs=2, metavar=("BTF", "LINUX"), help="take the ABI from this BTF first"
    )
    options = parser.parse_args()
    if options.pin:
        pin(Path(options.pin[0]), options.pin[1])
    path, release = pinned()
    stale = [
        (path, text)
        for path, text in sources(Btf.parse(path.read_bytes()), release).items()
        if not path.exists() or path.read_text() != text
    ]
    for path, text in stale:
        print(f"{'stale' if options.check else 'written'}: {path.relative_to(ROOT)}")
        if not options.check:
            path.write_text(text)
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
