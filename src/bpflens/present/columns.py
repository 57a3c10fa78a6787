"""The columns: the only list of what can be shown of each kind of record.

Table, JSON keys, CSV header, `--columns`, `--sort`, `--where`, help and completion all come from
here. A column's key is the record's field.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, NamedTuple

from bpflens.errors import UsageError
from bpflens.model.parts import Part
from bpflens.present.text import (
    attachments_text,
    bytes_text,
    clean,
    copies_text,
    counts_text,
    holders_text,
    list_text,
    named_text,
    part_text,
    per_cpu_text,
    sizes_text,
    yes_no,
)
from bpflens.snapshot.btf import BTF_PARTS
from bpflens.snapshot.take import MAP_PARTS, PROGRAM_PARTS


class Column(NamedTuple):
    """One column. `rank` is 0 outside the default table; else the highest give way first where
    the terminal is narrow."""

    key: str
    title: str
    help: str
    rank: int = 0
    right: bool = False
    json: bool = True
    show: Callable[[Any], str] = str
    since: str = ""
    wide: bool = False
    """A u64 that may be more than JavaScript can hold."""
    instead: str = ""
    """In a table: the field that is shown where this one is missing."""
    none: str = "there is none"
    """What it means that an object has none."""
    sparse: bool = False
    """Whether only some types of object have it: the JSON of the others leaves it out."""
    get: Callable[[Any], Any] | None = None
    """How to take the value from a record, where it is not the field called `key`."""
    parts: bool = False
    """Whether the value has parts that can be named: `value.packets`, `value.slots[3]`."""
    each: bool = False
    """Whether the items of the value stand in lines of their own where there is room."""
    names: str = ""
    """The function of `abi.since` with what the value may be: an option chooses by it, help and
    completion list it."""

    def known_names(self) -> dict[str, str]:
        """What the value may be → the Linux version that first had it."""
        if self.names == "attach_kinds":
            from bpflens.attach.kinds import KINDS

            return {kind.name: kind.since for kind in KINDS}
        from bpflens.abi import since

        known: dict[str, str] = getattr(since, self.names)()
        return known

    @property
    def getter(self) -> Callable[[Any], Any]:
        """Takes the value from a record."""
        return self.get or attrgetter(self.key)

    def part(self, path: str) -> Column:
        """The column of a part of the value: `path` is what follows the key. Raises UsageError."""
        from bpflens.present.parts import taker

        return self.renamed(self.key + path, taker(self.getter, self.key, path))

    def renamed(self, key: str, get: Callable[[Any], Any]) -> Column:
        """A column like this one for something else; its name may come from anyone."""
        return self._replace(key=key, title=clean(key), json=False, right=False, get=get)


class Noun(NamedTuple):
    """A kind of record: its name in documents, its columns, and the part that a field needs."""

    kind: str
    columns: tuple[Column, ...]
    parts: dict[str, Part] = {}

    def column(self, key: str) -> Column:
        """The column with this key. Raises UsageError."""
        for column in self.columns:
            if column.key == key:
                return column
        for column in self.columns:
            if column.parts and key.startswith((f"{column.key}.", f"{column.key}[")):
                return column.part(key[len(column.key) :])
        known = ", ".join(c.key for c in self.columns)
        raise UsageError(f"{self.kind} have no column {key!r}; there are: {known}")

    def chosen(self, keys: str) -> tuple[Column, ...]:
        """The columns that a comma-separated list names, in its order. Raises UsageError."""
        return tuple(self.column(key.strip()) for key in keys.split(",") if key.strip())

    def table(self) -> tuple[Column, ...]:
        """The columns of the default table."""
        return tuple(c for c in self.columns if c.rank)

    def document(self, asked: Part) -> tuple[Column, ...]:
        """The columns of a JSON item: the standing ones, and those of the parts asked for."""
        return tuple(c for c in self.columns if c.json or self.parts.get(c.key, Part(0)) & asked)


def inner_items(record: Any) -> dict[str, Any] | None:
    """The elements of an inner map, as a JSON document has them."""
    from bpflens.present.documents import item_of

    if record.inner is None:
        return None
    columns = tuple(map(ELEMENTS.column, record.inner.fields))
    items = [*map(item_of(columns), record.inner.records)]
    done: bool = record.inner.complete
    return {"items": items, "complete": done} | ({} if done else {"why": record.inner.why})


def row_of(columns: tuple[Column, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """A function that takes a record's values for these columns."""
    if any(c.get for c in columns):
        getters = [c.getter for c in columns]
        return lambda record: tuple(get(record) for get in getters)
    getter = attrgetter(*(c.key for c in columns))
    return getter if len(columns) > 1 else lambda record: (getter(record),)


TIES = (
    Column("holders", "HELD BY", "who keeps it alive", json=False, show=holders_text, each=True),
    Column("unseen", "UNSEEN", "what could not be looked at: there may be more of both",
           json=False, show="; ".join, each=True),
)  # fmt: skip
"""What `show` tells of objects beside what they are."""

PROGRAMS = Noun(
    "programs",
    (
        Column("id", "ID", "number of the program, until the next boot", 1, True),
        Column("type", "TYPE", "kind of program", 2, names="prog_types"),
        Column("name", "SHORT NAME", "name as the kernel keeps it: 15 characters"),
        Column("full_name", "NAME", "the whole name, from BTF where the kernel's is cut", 3,
               instead="name", none="cut at 15 characters, and no BTF to hold the rest"),
        Column("tag", "TAG", "what the instructions hash to", 7),
        Column("gpl_compatible", "GPL", "whether the license is GPL-compatible", show=yes_no),
        Column("loaded_at", "LOADED", "when it was loaded (UTC)", 9),
        Column("created_by_uid", "UID", "user who loaded it", 8, True),
        Column("xlated_bytes", "XLATED", "bytes of instructions after the verifier", 0, True),
        Column("jited_bytes", "JITED", "bytes of machine code; 0: interpreted", 0, True),
        Column(
            "memlock_bytes", "MEM", "bytes that the kernel accounts for", 5, True, show=bytes_text
        ),
        Column("map_ids", "MAPS", "IDs of the maps that it uses", 6, show=list_text),
        Column("btf_id", "BTF", "ID of its BTF object", 0, True, none="loaded without BTF"),
        Column("verified_insns", "VERIFIED", "instructions that the verifier walked", 0, True,
               since="5.16"),
        Column("run_time_ns", "RUN NS", "nanoseconds that it ran, while counted", 0, True,
               since="5.1", wide=True),
        Column("run_cnt", "RUNS", "how often it ran, while counted", 0, True, since="5.1",
               wide=True),
        Column("recursion_misses", "MISSES", "runs skipped because it was running", 0, True,
               since="5.12", wide=True),
        Column("pinned", "PINNED", "paths at which it is pinned", show=list_text),
        Column("load_time_ns", "LOAD NS", "nanoseconds from boot to load", 0, True, False,
               wide=True),
        Column("attach_btf_obj_id", "TARGET OBJ", "BTF object of what it attaches to", 0, True,
               False, since="5.17", none="attaches to no BTF type"),
        Column("attach_btf_id", "TARGET TYPE", "BTF type of what it attaches to", 0, True, False,
               since="5.17", none="attaches to no BTF type"),
        Column("ifindex", "IFINDEX", "device that it is bound to (offload)", 0, True, False,
               none="not bound to a device"),
        Column("xlated", "INSNS", "the instructions, hex", json=False),
        Column("jited", "CODE", "the machine code, hex", json=False),
        Column("jited_ksyms", "KSYMS", "addresses of its functions", json=False, show=list_text,
               wide=True),
        Column("jited_func_lens", "LENS", "bytes of its functions", json=False, show=list_text),
        Column("func_info", "FUNC INFO", "struct bpf_func_info records, hex", json=False),
        Column("line_info", "LINE INFO", "struct bpf_line_info records, hex", json=False),
        Column("jited_line_info", "JITED LINES", "addresses of lines, hex", json=False),
        Column("prog_tags", "TAGS", "tags of its functions", json=False, show=list_text),
        Column("attachments", "ATTACHED", "where it is attached", json=False,
               show=attachments_text, each=True),
        *TIES,
    ),
    PROGRAM_PARTS,
)  # fmt: skip

MAPS = Noun(
    "maps",
    (
        Column("id", "ID", "number of the map, until the next boot", 1, True),
        Column("type", "TYPE", "kind of map", 2, names="map_types"),
        Column("name", "NAME", "name as the kernel keeps it: 15 characters", 3),
        Column("key_size", "KEY", "bytes of a key", 4, True),
        Column("value_size", "VALUE", "bytes of a value (on one CPU)", 4, True),
        Column("max_entries", "MAX", "most elements that fit", 4, True),
        Column("flags", "FLAGS", "flags of creation", 7, show=list_text),
        Column(
            "memlock_bytes", "MEM", "bytes that the kernel accounts for", 5, True, show=bytes_text
        ),
        Column("frozen", "FROZEN", "user space may no longer write", 8, show=yes_no, since="5.2"),
        Column("btf_id", "BTF", "ID of its BTF object", 0, True, none="made without BTF"),
        Column(
            "owner_prog_type",
            "OWNER",
            "program type that a prog_array is bound to",
            none="only a prog_array that holds or was given a program has one",
        ),
        Column("pinned", "PINNED", "paths at which it is pinned", show=list_text),
        Column(
            "map_extra",
            "EXTRA",
            "meaning depends on the type",
            0,
            True,
            False,
            since="5.16",
            wide=True,
        ),
        Column(
            "btf_key_type_id",
            "KEY TYPE",
            "BTF type of a key",
            0,
            True,
            False,
            none="made without BTF",
        ),
        Column(
            "btf_value_type_id",
            "VALUE TYPE",
            "BTF type of a value",
            0,
            True,
            False,
            none="made without BTF",
        ),
        Column(
            "btf_vmlinux_value_type_id",
            "KERNEL TYPE",
            "struct_ops type",
            0,
            True,
            False,
            none="only a struct_ops map has one",
        ),
        Column(
            "ifindex",
            "IFINDEX",
            "device that it is bound to (offload)",
            0,
            True,
            False,
            none="not bound to a device",
        ),
        Column(
            "attachments",
            "ATTACHED",
            "what is attached to it",
            json=False,
            show=attachments_text,
            each=True,
        ),
        *TIES,
    ),
    MAP_PARTS,
)

BTFS = Noun(
    "btf",
    (
        Column("id", "ID", "number of the BTF object, until the next boot", 1, True),
        Column("name", "NAME", "vmlinux or the module's name; others have none", 2, since="5.11"),
        Column("size", "SIZE", "bytes of the raw BTF", 3, True, show=bytes_text),
        Column("kernel", "KERNEL", "whether it is the kernel's or a module's", 4, show=yes_no,
               since="5.11"),
        Column("program_ids", "PROGRAMS", "IDs of the programs that use it", 5, show=list_text),
        Column("map_ids", "MAPS", "IDs of the maps that use it", 5, show=list_text),
    ),
    BTF_PARTS,
)  # fmt: skip

ATTACHMENTS = Noun(
    "attachments",
    (
        Column("kind", "KIND", "kind of place", 1, names="attach_kinds"),
        Column("target", "TARGET", "the place: eth0@blue, /web.slice, sched_switch, map 12 [3]", 1),
        Column("attach_type", "HOOK", "the hook there, or the mode", 2, none="it has only one",
               names="attach_types"),
        Column("order", "ORDER", "its turn there, from 0", 6, True, none="only one can be there"),
        Column("prog_id", "PROG", "ID of the program", 1, True),
        Column("prog_type", "PROG TYPE", "kind of the program"),
        Column("prog_name", "NAME", "name of the program", 2),
        Column("prog_tag", "TAG", "what its instructions hash to"),
        Column("via", "VIA", "what told: link, netlink, prog_query, perf_fd, files, map", 7),
        Column("link_id", "LINK", "the link that attaches it", 4, True, none="attached by no link"),
        Column("flags", "FLAGS", "flags of attaching", 8, show=list_text),
        Column("cookie", "COOKIE", "what the program gets from bpf_get_attach_cookie()", 0, True,
               wide=True),
        Column("holder", "HOLDER", "the open file that keeps it attached", 5,
               none="no file has to keep it"),
        Column("map_id", "MAP", "the map that it is at, or in", 0, True, none="at no map"),
        Column("slot", "SLOT", "the slot of the map that it is in", none="in no slot"),
        Column("on_prog_id", "ON PROG", "the program of which it replaces or traces a function", 0,
               True, none="a place of the kernel's own"),
    ),
)  # fmt: skip

CHECKS = Noun(
    "checks",
    (
        Column("check", "CHECK", "what was looked at", 1),
        Column("ok", "OK", "whether it is as bpflens would want it", 2, show=yes_no),
        Column("found", "FOUND", "what there is", 3),
        Column("remedy", "REMEDY", "what would grant or change it", 4, none="nothing to do"),
    ),
)

ELEMENTS = Noun(
    "elements",
    (
        Column("key", "KEY", "the key's bytes, hex", 1, none="this type of map has no keys"),
        Column("value", "VALUE", "the value's bytes, hex", 2),
        Column("values", "VALUES", "the bytes of each CPU's value, hex", 2, show=per_cpu_text),
        Column(
            "program",
            "PROGRAM",
            "the program that the slot names",
            3,
            show=named_text,
            none="the slot runs no program",
        ),
        Column("map", "MAP", "the inner map", 3, show=named_text),
        Column("ifindex", "IFINDEX", "the device, by its index", 3, True),
        Column("device", "DEVICE", "its name in this network namespace", 3),
        Column("queue_size", "QUEUE", "packets that the CPU's slot queues", 3, True),
        Column("cookie", "COOKIE", "the socket, by its cookie", 3, True, wide=True),
        Column("orig_off", "INSN", "the instruction, in the program that was loaded", 3, True),
        Column("xlated_off", "XLATED", "the same in the program as the kernel runs it", 3, True),
        Column("jitted_off", "JITED", "the same in the machine code, in bytes", 3, True),
        Column("elements", "ELEMENTS", "the elements of the inner map", json=False,
               get=inner_items),
        Column("formatted", "FORMATTED", "key and value as their types read them", 3,
               show=part_text),
    ),
)  # fmt: skip

OVERVIEW = Noun(
    "overview",
    (
        Column("kernel", "KERNEL", "release of the kernel", 1),
        Column("programs", "PROGRAMS", "how many programs are loaded", 1, True),
        Column("maps", "MAPS", "how many maps there are", 1, True),
        Column("links", "LINKS", "how many links there are", 1, True),
        Column("btf_objects", "BTF", "how many BTF objects there are", 1, True),
        Column("memlock_bytes", "MEM", "bytes of all programs and maps", 1, True, show=bytes_text),
        Column("pinned", "PINNED", "programs and maps that are pinned", 1, True),
        Column("programs_by_type", "PROGRAM TYPES", "programs of each type", 2, show=counts_text),
        Column("maps_by_type", "MAP TYPES", "maps of each type", 2, show=counts_text),
        Column("attached", "ATTACHED", "how many attachments were found", 1, True),
        Column("attached_by_kind", "PLACES", "attachments of each kind", 2, show=counts_text),
        Column("largest_maps", "LARGEST", "the maps that take most memory", 3, show=sizes_text),
        Column("copies", "COPIES", "programs loaded many times over", 3, show=copies_text),
    ),
)

NOUNS = {
    noun.kind: noun for noun in (PROGRAMS, MAPS, BTFS, ATTACHMENTS, ELEMENTS, CHECKS, OVERVIEW)
}
