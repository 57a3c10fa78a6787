"""`bpflens` without a command."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator

from bpflens.cli import output
from bpflens.cli.session import Session
from bpflens.present.columns import OVERVIEW
from bpflens.present.text import bytes_text, clean, copies_text, counts_text, sizes_text
from bpflens.snapshot.overview import Overview, overview


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser.set_defaults(run=show)


def show(session: Session) -> int:
    """How many of what, and what looks wrong."""
    found, errors = overview(session.system)
    if session.form != "text":
        return output.show(session, output.Choice(OVERVIEW, session.options), [found], errors)
    output.write(_folded(map(clean, _lines(found)), session.width))
    output.tell(errors)
    return 1 if errors else 0


def _lines(found: Overview) -> Iterator[str]:
    counts = (
        (found.programs, "program"),
        (found.maps, "map"),
        (found.links, "link"),
        (found.btf_objects, "BTF object"),
    )
    told = ", ".join(_many(count, noun) for count, noun in counts if count is not None)
    yield f"Linux {found.kernel or '(release unknown)'}: {told}"
    yield f"memory    {bytes_text(found.memlock_bytes)} of programs and maps"
    if found.programs:
        yield f"programs  {counts_text(found.programs_by_type)}"
    if found.maps:
        yield f"maps      {counts_text(found.maps_by_type)}"
        yield f"largest   {sizes_text(found.largest_maps)}"
    if found.attached:
        yield f"attached  {counts_text(found.attached_by_kind)}"
    if found.pinned:
        yield f"pinned    {_many(found.pinned, 'object')}"
    if found.copies:
        yield f"odd       {copies_text(found.copies)}: does a loader forget to unload?"
    for field, reason in found.missing.items():
        yield f"unknown   {field}: {reason}"


def _folded(lines: Iterable[str], width: int | None) -> Iterator[str]:
    """Lines as wide as the terminal: a list goes on in the next line, below its beginning."""
    indent = " " * len("programs  ")
    for line in lines:
        head, *items = line.split(", ")
        for item in items:
            if width is not None and len(f"{head}, {item},") > width:
                yield head + ","
                head = indent + item
            else:
                head = f"{head}, {item}"
        yield head


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
