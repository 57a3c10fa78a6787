"""The generated layouts against the kernel's own account of them, walked here once more.

`tools/gen_abi.py` follows a table of choices through the unions of `bpf_attr`. Here all leaves of
all unions are listed, each with the choices that lead to it, and the fields of a record must be
leaves that can stand side by side.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from bpflens.abi import attrs, enums, infos
from bpflens.abi.attrs import ATTR_SIZE, ATTRS
from bpflens.abi.record import Field, Record
from bpflens.abi.word import Word
from bpflens.btf import Btf
from bpflens.btf import types as t

ROOT = Path(__file__).resolve().parents[3]
(PINNED,) = (ROOT / "tools" / "abi").glob("linux-*.btf")
RELEASE = PINNED.stem.removeprefix("linux-")
VMLINUX = Path("/sys/kernel/btf/vmlinux")

INFOS: dict[str, type[Record]] = {
    "bpf_prog_info": infos.ProgInfo,
    "bpf_map_info": infos.MapInfo,
    "bpf_btf_info": infos.BtfInfo,
    "bpf_token_info": infos.TokenInfo,
}
LINK_RECORDS: list[type[Record]] = [
    *infos.LINK_INFOS.values(),
    *infos.PERF_LINK_INFOS.values(),
    infos.LinkInfo,
    infos.IterCgroupLinkInfo,
]
LINKS = {record.__name__: record for record in LINK_RECORDS}


PARTS: dict[type[Record], str] = {
    attrs.ProgAssocStructOps: "prog_assoc_struct_ops",
    attrs.LinkCreateTracingMulti: "tracing_multi",
    infos.TracingMultiLinkInfo: "tracing_multi",
}
"""Records of a part that older kernels lack, and what Linux calls it; its fields have common names,
which are elsewhere there."""
YOUNGER: dict[type[Record], str] = {attrs.LinkCreateUprobeMulti: "path_fd"}
"""The same of a single field."""


class Leaf(NamedTuple):
    """A field of C: its name, place and size, and which member of which union leads there."""

    name: str
    offset: int
    size: int
    owner: str
    choices: tuple[tuple[int, int], ...]


def leaves(
    btf: Btf, type_id: int, base: int = 0, owner: str = "", taken: tuple[tuple[int, int], ...] = ()
) -> Iterator[Leaf]:
    """All leaves of a struct or union; bit fields count as the integer that holds them."""
    found = btf.strip(type_id)
    assert isinstance(found, t.Struct | t.Union)
    for number, member in enumerate(found.members):
        # a union is known by where it stands and which type it is
        step = ((found.id << 16 | base, number),) if isinstance(found, t.Union) else ()
        inner = btf.strip(member.type_id)
        at = base + member.bit_offset // 8
        if isinstance(inner, t.Struct | t.Union):
            yield from leaves(btf, inner.id, at, member.name or owner, taken + step)
        elif member.name:
            size = inner.nelems if isinstance(inner, t.Array) else getattr(inner, "size", 8)
            yield Leaf(member.name, at, size, owner, taken + step)


def side_by_side(fields: list[Field], found: list[Leaf], taken: dict[int, int]) -> str:
    """The first field that no leaf stands for, given the choices taken so far; "" when all do."""
    if not fields:
        return ""
    field, *rest = fields
    if field.name.startswith("pad_"):
        return side_by_side(rest, found, taken)
    worst = field.name
    for leaf in found:
        if (leaf.offset, leaf.size) != (field.offset, field.size):
            continue
        if field.name not in (leaf.name, f"{leaf.owner}_{leaf.name}"):
            continue
        if any(taken.get(union, number) != number for union, number in leaf.choices):
            continue
        worst = side_by_side(rest, found, taken | dict(leaf.choices))
        if not worst:
            return ""
    return worst


@pytest.fixture(scope="module", params=["pinned", "running"])
def btf(request: pytest.FixtureRequest) -> Btf:
    """The BTF that the files were generated from, and that of this machine's kernel."""
    if request.param == "pinned":
        return Btf.parse(PINNED.read_bytes())
    if not os.access(VMLINUX, os.R_OK):
        pytest.skip(f"{VMLINUX} cannot be read")
    return Btf.parse(VMLINUX.read_bytes())


@pytest.fixture
def whole(request: pytest.FixtureRequest) -> bool:
    """Whether the BTF has all that the files have: one of an older kernel lacks younger parts."""
    which = request.node.callspec.params["btf"]
    return which == "pinned" or os.uname().release.startswith(f"{RELEASE}.")


def known(record: type[Record], found: list[Leaf], whole: bool) -> list[Field]:
    """The fields that this kernel has under any name; none where it lacks the whole part."""
    if record in PARTS and PARTS[record] not in {leaf.owner for leaf in found}:
        assert not whole
        return []
    names = {leaf.name for leaf in found} | {f"{leaf.owner}_{leaf.name}" for leaf in found}
    fields = [f for f in record.__layout__.values() if not f.name.startswith("pad_")]
    have = [f for f in fields if f.name in names and (whole or f.name != YOUNGER.get(record))]
    if whole:
        assert have == fields
    return have


def of_struct(btf: Btf, name: str) -> tuple[list[Leaf], int]:
    found = btf.find(name, t.Union) or btf.find(name, t.Struct)
    if not isinstance(found, t.Struct | t.Union):
        pytest.skip(f"this kernel has no {name}")
    return list(leaves(btf, found.id)), found.size


def test_every_field_of_every_attr_is_where_this_kernel_reads_it(btf: Btf, whole: bool) -> None:
    found, size = of_struct(btf, "bpf_attr")
    records = {r for r in vars(attrs).values() if isinstance(r, type) and issubclass(r, Record)}
    records.discard(Record)
    assert set(ATTRS.values()) <= records
    for record in records:
        missed = side_by_side(known(record, found, whole), found, {})
        assert not missed, f"{record.__name__}.{missed}"
    if whole:
        assert size == ATTR_SIZE


@pytest.mark.parametrize("name", INFOS)
def test_every_field_of_an_info_is_where_this_kernel_writes_it(
    btf: Btf, whole: bool, name: str
) -> None:
    found, size = of_struct(btf, name)
    record = INFOS[name]
    missed = side_by_side(known(record, found, whole), found, {})
    assert not missed, f"{record.__name__}.{missed}"
    if whole:
        # and none was left out
        assert size == record.__size__
        assert {leaf.name for leaf in found} == {
            n for n in record.__layout__ if not n.startswith("pad_")
        }


@pytest.mark.parametrize("name", LINKS)
def test_every_field_of_a_link_is_where_this_kernel_writes_it(
    btf: Btf, whole: bool, name: str
) -> None:
    found, size = of_struct(btf, "bpf_link_info")
    record = LINKS[name]
    missed = side_by_side(known(record, found, whole), found, {})
    assert not missed, f"{record.__name__}.{missed}"
    if whole:
        assert size == infos.LINK_INFO_SIZE


@pytest.mark.parametrize(
    ("ours", "c_name", "prefix"),
    [
        (enums.Cmd, "bpf_cmd", "BPF_"),
        (enums.MapType, "bpf_map_type", "BPF_MAP_TYPE_"),
        (enums.ProgType, "bpf_prog_type", "BPF_PROG_TYPE_"),
        (enums.AttachType, "bpf_attach_type", "BPF_"),
        (enums.LinkType, "bpf_link_type", "BPF_LINK_TYPE_"),
    ],
)
def test_every_number_has_the_name_that_this_kernel_gives_it(
    btf: Btf, whole: bool, ours: type[Word], c_name: str, prefix: str
) -> None:
    found = btf.find(c_name, t.Enum)
    assert isinstance(found, t.Enum)
    theirs = {
        name.removeprefix(prefix): value
        for name, value in found.values
        if not name.startswith(("__", "MAX_"))
        and not name.endswith("_DEPRECATED")
        and name != "BPF_COMMON_ATTRS"  # a bit that goes with any command
    }
    for name, value in theirs.items():
        if name in ours.__members__:
            assert ours[name] == value
    if whole:
        assert set(theirs) == set(ours.__members__)


def test_the_generated_files_are_fresh(tmp_path: Path) -> None:
    beside = {"PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"}
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "gen_abi.py"), "--check"],
        capture_output=True, text=True, env=os.environ | beside, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
