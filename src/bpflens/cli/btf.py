"""`bpflens btf`."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from bpflens.cli import output, selectors
from bpflens.cli.listing import Found, add_list_and_show
from bpflens.cli.options import add_verb
from bpflens.cli.session import Session
from bpflens.errors import NotFound, UsageError
from bpflens.model.btfobject import BtfObject
from bpflens.model.parts import Missing, Part
from bpflens.model.system import System
from bpflens.present.columns import BTFS
from bpflens.snapshot.btf import LIST_PARTS, BtfLook

if TYPE_CHECKING:
    from bpflens.btf import Btf

OBJECT_FORMS = "12, id:12, vmlinux or a module's name"
DUMP_FORMS = (
    "12, vmlinux, a module's name, prog:12, map:12 (its key and value), or file:PATH "
    "(raw BTF or an ELF object)"
)


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the verbs."""
    verbs = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)
    add_list_and_show(verbs, BTFS, "BTF object", OBJECT_FORMS, _look, LIST_PARTS)
    words = "types, as C declarations, as JSON or as bpftool lists them"
    dump = add_verb(verbs, "dump", words, None, dump_types)
    dump.add_argument("selector", metavar="BTF", help=DUMP_FORMS)
    dump.add_argument("--format", choices=("c", "json", "raw"), default=None,
                      help="default: c; json with --json")  # fmt: skip
    dump.add_argument("--type", metavar="NAME",
                      help="one type with all it needs: task_struct, 'struct foo'")  # fmt: skip
    dump.add_argument("--base", metavar="FILE",
                      help="what the BTF of file:PATH continues, or vmlinux")  # fmt: skip


def _look(system: System, parts: Part, selector: str | None) -> Found:
    look = BtfLook(system, parts)
    chosen = [_object(system, selector)] if selector else None
    return look.objects(chosen), look.errors


def dump_types(session: Session) -> int:
    """`btf dump BTF`."""
    options = session.options
    if session.form == "csv":
        raise UsageError("types are no table: give --json, or --format c or raw")
    form = options.format or ("json" if session.form in ("json", "jsonl") else "c")
    source = _source(session.system, options.selector, options.base)
    ids = source.ids
    if options.type is not None:
        from bpflens.model.typenames import find

        ids = [found.id for found in find(source.btf, options.type)]
    if form == "c":
        text = _declarations(source.btf, ids)
        if not text and options.type is not None:
            output.note(f"{options.type} is a word of C: there is nothing to declare")
        output.write([text] if text else [])
        return 0
    if ids is None:
        chosen: Iterable[int] = source.btf.ids()
    else:
        from bpflens.model.typenames import closure

        chosen = sorted(closure(source.btf, ids))
    from bpflens.present.types import listing

    lines = _json(session, source.btf, chosen) if form == "json" else listing(source.btf, chosen)
    output.write(lines)
    return 0


class Source(NamedTuple):
    """Types, and which of them were asked for where that is not all."""

    btf: Btf
    ids: list[int] | None = None


def _source(system: System, text: str, base: str | None) -> Source:
    """What a selector of `btf dump` names. Raises UsageError, NotFound, Denied, FormatError."""
    kind, colon, value = text.partition(":")
    if base is not None and kind != "file":
        raise UsageError("--base is for file:PATH; the kernel tells what a module's BTF continues")
    match kind:
        case "file":
            from bpflens.cli.typefile import read_types

            return Source(read_types(system, value, base))
        case "prog" if colon:
            id = selectors.number(value, DUMP_FORMS)
            with system.program(id) as program:
                btf_id = program.basic().btf_id
            if not btf_id:
                raise NotFound(f"program {id} has no BTF")
            return Source(known(system.btf(btf_id)))
        case "map" if colon:
            return _source_of_map(system, selectors.number(value, DUMP_FORMS))
    if text == "vmlinux":
        from bpflens.cli.typefile import kernel_types

        return Source(kernel_types(system))
    with _object(system, text) as found:
        return Source(known(found.types()))


def _source_of_map(system: System, id: int) -> Source:
    from bpflens.model.typed import type_ids

    with system.map(id) as found:
        told = type_ids(found)
    if told is None:
        raise NotFound(f"map {id} has no BTF")
    # The key of global data has no type.
    return Source(known(system.btf(told.btf)), [i for i in (told.key, told.value) if i])


def known(types: Btf | Missing) -> Btf:
    """The types. Raises NotFound with the reason where they could not be had."""
    if isinstance(types, Missing):
        raise NotFound(types.detail)
    return types


def _object(system: System, text: str) -> BtfObject:
    """The BTF object of an ID or a name, open."""
    if ":" in text or text.isdigit():
        selector = selectors.parse(text, ("id",), OBJECT_FORMS)
        return system.btf_object(int(selector.value))
    from bpflens.rawtext import means

    for found in system.btf_objects():
        name = found.name()
        if isinstance(name, str) and means(text, name):
            return found
        found.close()
    raise NotFound(f"no BTF object is called {text}: only the kernel's and its modules' have names")


def _declarations(btf: Btf, ids: list[int] | None) -> str:
    from bpflens.btf.declare import declare

    return declare(btf, ids if ids is not None or btf.base is None else _named(btf)).rstrip("\n")


def _named(btf: Btf) -> list[int]:
    """The types of split BTF that a declaration can be made of, without those of its base."""
    from bpflens.btf import types as t

    kinds = (t.Struct, t.Union, t.Enum, t.Enum64, t.Fwd, t.Typedef)
    return [id for id in btf.ids() if btf.kind(id) in kinds and btf.type_name(id)]


def _json(session: Session, btf: Btf, ids: Iterable[int]) -> Iterator[str]:
    from bpflens.present import documents
    from bpflens.present.types import facts

    items = (documents.safe(facts(found)) for found in btf.each(ids))
    if session.form == "jsonl":
        return documents.lines(items)
    return documents.document("types", items, [], lambda: True)
