"""The suite: which cases there are, and how one is run and judged."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from bpflens.attach.everything import find
from bpflens.attach.places import Places
from bpflens.attach.record import Attachment
from bpflens.model.system import System
from bpflens.testing import attachments
from bpflens.testing.bench import Bench, NotOffered


class Expected(NamedTuple):
    """What the record of an attachment must say; None: that is not looked at."""

    prog_id: int
    target: str
    order: int | None = None
    flags: list[str] | None = None
    via: str | None = None
    link_id: int | None = None
    attach_type: str | None = None
    cookie: int | None = None
    holder: str | None = None
    """Must be in the text."""
    only_by_type: bool | None = None
    """The kernel tells no more than the type: where others load such a program meanwhile, the
    record names no program, and this one among those that it may be."""


Attach = Callable[[Any], Expected | list[Expected]]


class Case(NamedTuple):
    """One way to attach a program. `attach(bench)` does it, and says what must be found; it raises
    NotOffered with the reason where the kernel cannot."""

    kind: str
    name: str
    attach: Attach


class Outcome(NamedTuple):
    """What came of a case on a kernel: nothing where it is shown right, else why not."""

    case: Case
    reason: str


_CASES: list[Case] = []


def case(kind: str, name: str = "") -> Callable[[Attach], Attach]:
    """Register the decorated function as a case of this kind."""

    def keep(function: Attach) -> Attach:
        _CASES.append(Case(kind, name, function))
        return function

    return keep


def cases() -> list[Case]:
    """Every case: by file, then in the order of the file."""
    for module in pkgutil.iter_modules(attachments.__path__):
        if module.name not in ("__main__", "suite"):
            importlib.import_module(f"{attachments.__name__}.{module.name}")
    return _CASES


def run(case: Case, bench: Bench) -> Outcome:
    """Attach, look, compare, clean up. Raises AssertionError where a record is missing or wrong."""
    try:
        told = case.attach(bench)
        wanted = told if isinstance(told, list) else [told]
        with System(bench.doors) as system:
            system.index_dir = bench.index_dir
            places = Places(system)
            found = [each for each in find(places) if isinstance(each, Attachment)]
        for expected in wanted:
            _compare(case, expected, found)
    except NotOffered as missing:
        return Outcome(case, str(missing))
    finally:
        bench.clean()
    return Outcome(case, "")


def _compare(case: Case, expected: Expected, found: list[Attachment]) -> None:
    same = [each for each in found if each.kind == case.kind and _is_of(expected, each)]
    exact = [each for each in same if _fits(expected, each)]
    if len(exact) != 1:
        listed = "\n".join(f"  {each}" for each in same or found) or "  nothing"
        raise AssertionError(f"{len(exact)} records fit {expected}; there are:\n{listed}")


def _is_of(expected: Expected, record: Attachment) -> bool:
    if expected.only_by_type and record.prog_id is None:
        return str(expected.prog_id) in re.findall(r"\d+", record.missing["prog_id"])
    return record.prog_id == expected.prog_id


def _fits(expected: Expected, record: Attachment) -> bool:
    for name, value in expected._asdict().items():
        if value is None or name in ("prog_id", "only_by_type"):
            continue
        told = getattr(record, name)
        if value != told and not (name == "holder" and value in (told or "")):
            return False
    return True
