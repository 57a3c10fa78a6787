"""`bpflens record FILE`."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from bpflens.cli.options import count
from bpflens.cli.session import Session
from bpflens.errors import BpflensError
from bpflens.model.btfobject import BtfObject
from bpflens.model.parts import Missing, Part, attempt
from bpflens.model.system import MAP, PROGRAM, System
from bpflens.snapshot.access import examine
from bpflens.snapshot.elements import Describer
from bpflens.snapshot.overview import overview
from bpflens.snapshot.take import Look

if TYPE_CHECKING:
    from bpflens.model.program import Program
    from bpflens.snapshot.names import Names

MOST = 10_000


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser.add_argument(
        "file", metavar="FILE", help="where to write it; .gz compresses it; -: to standard output"
    )
    parser.add_argument(
        "--elements", metavar="N", type=count, default=MOST,
        help="record the elements of maps with at most N entries (default: 10000; 0: none)",
    )  # fmt: skip
    parser.add_argument(
        "--kernel-types", action="store_true",
        help="record the types of the kernel and its modules too (some megabytes)",
    )  # fmt: skip
    parser.set_defaults(run=record)


def record(session: Session) -> int:
    """Ask the kernel everything that the other commands could ask, and keep the answers."""
    most, left_out = session.options.elements, list[int]()
    errors = sweep(session.system, most, session.options.kernel_types, left_out)
    path = session.options.file
    session.save(path)
    if path != "-" and os.path.isfile(path):
        print(f"recorded in {path}: bpflens --on {path}", file=sys.stderr)
    if left_out and most:
        many = f"{len(left_out)} maps, which have room for more than {most} (--elements)"
        print(f"not in it: the elements of {many}", file=sys.stderr)
    return 1 if errors else 0


def sweep(
    system: System, most: int, kernel_types: bool = False, left_out: list[int] | None = None
) -> int:
    """Ask everything; returns how many objects could not be looked at. `left_out` gets the IDs of
    the maps that have room for more than `most` elements: these are not asked for."""
    _, errors = overview(system)
    examine(system)
    look = Look(system, ~Part(0))
    for _ in look.programs():
        pass
    for _ in look.maps():
        pass
    _read_types(system, kernel_types)
    _read_code(system)
    _read_ties(system)
    describer = Describer(system)
    for id in system.ids(MAP):
        try:
            with system.map(id) as found:
                if found.basic().max_entries <= most:
                    for _ in describer.records(found.items()):
                        pass
                elif left_out is not None:
                    left_out.append(id)
        except (BpflensError, OSError):
            continue  # what cannot be read answers the same when the recording is looked at
    return len(errors) + len(look.errors)


def _read_ties(system: System) -> None:
    """Ask where everything is attached, and who holds it."""
    from bpflens.snapshot.links import LinkLook
    from bpflens.snapshot.relations import Relations

    _ = Relations(system).graph
    try:
        for _ in LinkLook(system).links():
            pass
    except (BpflensError, OSError):
        pass  # what cannot be listed answers the same when the recording is looked at


def _read_types(system: System, kernel_types: bool) -> None:
    """Ask what lists of types and typed elements ask: each BTF object, and its types."""
    try:
        for found in system.btf_objects():
            with found:
                name = attempt(BtfObject.name, found)
                if kernel_types or isinstance(name, Missing):
                    system.btf(found.id)
    except (BpflensError, OSError):
        pass  # what cannot be listed answers the same when the recording is looked at
    if kernel_types:
        system.kernel_types()


def _read_code(system: System) -> None:
    """Ask what a listing of each program asks: its BTF, its symbols, its maps' variables.

    Of the kernel's symbols only those are kept that were asked for: all are 5 MB. The kernel's own
    BTF is as large and is kept only where a name takes it.
    """
    from bpflens.snapshot.names import Names

    names = Names(system)
    for id in system.ids(PROGRAM):
        try:
            with system.program(id) as program:
                _read_program(program, names)
        except (BpflensError, OSError):
            continue


def _read_program(program: Program, names: Names) -> None:
    from bpflens.snapshot import machine
    from bpflens.snapshot.code import Code

    code = Code(program, names)
    for _ in code.records():
        pass
    # what machine code calls; without capstone that has no more names than the listing
    arch = machine.architecture(program.system)
    for _ in machine.records(program, code, machine.disassembler(arch)):
        pass
