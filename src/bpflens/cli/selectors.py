"""Selectors: `12`, `id:12`, `name:xdp_lb`, `tag:59f4a931744dcdc6`, `pin:/path`, `prog:12`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

from bpflens.abi.enums import LinkType
from bpflens.errors import NotFound, UsageError
from bpflens.model.link import Link
from bpflens.model.map import Map
from bpflens.model.parts import Missing, attempt
from bpflens.model.program import NAME_MAX, Program
from bpflens.model.system import System
from bpflens.present.text import few_text

O = TypeVar("O", Program, Map, Link)  # noqa: E741

PROGRAM_FORMS = "12, id:12, name:xdp_lb, tag:59f4a931744dcdc6 or pin:/sys/fs/bpf/x"
MAP_FORMS = "12, id:12, name:flows, pin:/sys/fs/bpf/x, or prog:12 for the maps of a program"

LINK_FORMS = (
    "12, id:12, pin:/sys/fs/bpf/x, prog:12 for the links of a program, or type:tcx for all of "
    "that type"
)


class Selector(NamedTuple):
    """A kind of selector and its value; IDs are digits."""

    kind: str
    value: str


def parse(text: str, kinds: Iterable[str], forms: str) -> Selector:
    """Read a selector. Raises UsageError."""
    kind, colon, value = text.partition(":")
    if not colon:
        kind, value = "id", text
    if kind not in kinds or not value:
        raise UsageError(f"{text!r} is no selector: give {forms}")
    if kind in ("id", "prog"):
        number(value, forms + (f" (by name: name:{value})" if not colon else ""))
    elif kind == "tag" and not re.fullmatch(r"[0-9a-fA-F]{16}", value):
        raise UsageError(f"{value!r} is no tag: a tag has 16 hex digits")
    return Selector(kind, value)


def number(text: str, forms: str) -> int:
    """An ID. Raises UsageError."""
    # u32: what does not fit is no ID that any kernel could give
    if not re.fullmatch(r"[0-9]{1,10}", text) or int(text) >= 1 << 32:
        raise UsageError(f"{text!r} is no ID: give {forms}")
    return int(text)


def programs(system: System, text: str) -> Iterator[Program]:
    """The programs that a selector names, open. Raises UsageError, NotFound, Denied."""
    selector = parse(text, ("id", "name", "tag", "pin"), PROGRAM_FORMS)
    match selector.kind:
        case "id":
            return _later(lambda: system.program(int(selector.value)))
        case "pin":
            return _later(lambda: _of_kind(system, selector.value, Program))
        case "tag":
            wanted = selector.value.lower()
            return _some(_matching(system.programs(), lambda p: p.tag == wanted), text, "program")
    return _some(
        _matching(system.programs(), lambda p: _program_has_name(p, selector.value)),
        text,
        "program",
    )


def maps(system: System, text: str) -> Iterator[Map]:
    """The maps that a selector names, open. Raises UsageError, NotFound, Denied."""
    selector = parse(text, ("id", "name", "pin", "prog"), MAP_FORMS)
    match selector.kind:
        case "id":
            return _later(lambda: system.map(int(selector.value)))
        case "pin":
            return _later(lambda: _of_kind(system, selector.value, Map))
        case "prog":
            with system.program(int(selector.value)) as program:
                ids = program.map_ids()
            return _some(_open_maps(system, ids), text, "map")
    from bpflens.rawtext import means

    return _some(_matching(system.maps(), lambda m: means(selector.value, m.name)), text, "map")


def links(system: System, text: str) -> Iterator[Link]:
    """The links that a selector names, open. Raises UsageError, NotFound, Denied."""
    selector = parse(text, ("id", "pin", "prog", "type"), LINK_FORMS)
    match selector.kind:
        case "id":
            return _later(lambda: system.link(int(selector.value)))
        case "pin":
            return _later(lambda: _of_kind(system, selector.value, Link))
        case "prog":
            id = int(selector.value)
            return _some(
                _matching(system.links(), lambda link: link.basic().prog_id == id), text, "link"
            )
    known = [type.label for type in LinkType if type]
    if selector.value not in known and not selector.value.startswith("unknown_"):
        raise UsageError(f"there is no type of link {selector.value!r}: give {', '.join(known)}")
    wanted = selector.value
    return _some(_matching(system.links(), lambda link: link.type.label == wanted), text, "link")


def one_link(system: System, text: str) -> Link:
    """The one link that a selector names. Raises UsageError where it names several."""
    return _single(links(system, text), text, "links")


def one_program(system: System, text: str) -> Program:
    """The one program that a selector names. Raises UsageError where it names several."""
    return _single(programs(system, text), text, "programs")


def one_map(system: System, text: str) -> Map:
    """The one map that a selector names. Raises UsageError where it names several."""
    return _single(maps(system, text), text, "maps")


def _single(objects: Iterable[O], text: str, nouns: str) -> O:
    found: list[O] = []
    try:
        found.extend(objects)
        if len(found) == 1:
            return found.pop()
        ids = ", ".join(str(each.id) for each in found)
        raise UsageError(f"{text} names {len(found)} {nouns}: choose one of the IDs {ids}")
    finally:
        for each in found:
            each.close()


def _program_has_name(program: Program, name: str) -> bool:
    """Whether a program has this name, by the kernel's 15 bytes or by the whole name."""
    from bpflens.rawtext import REPLACEMENT, means, shown

    if means(name, program.name):
        return True
    if len(program.basic().name) < NAME_MAX:
        return False
    # The cut may be within a character.
    if not shown(name).startswith(shown(program.name).rstrip(REPLACEMENT)):
        return False
    full = attempt(Program.full_name, program)
    return not isinstance(full, Missing) and means(name, full)


def _later(open: Callable[[], O]) -> Iterator[O]:
    """The object that `open` gives, opened when it is asked for."""
    yield open()


def _of_kind(system: System, path: str, kind: type[O]) -> O:
    found = pinned(system, path)
    if isinstance(found, kind):
        return found
    found.close()
    raise NotFound(f"{path} is the pin of a {found.kind}, not of a {kind.kind}")


def pinned(system: System, path: str, write: bool = False) -> Program | Map | Link:
    """The object that is pinned at a path, which may be of another mount namespace
    (`/run/bpf/x@4026532199`). Raises NotFound, Denied, UsageError, OSError."""
    path = pin_path(system, path)
    if "@" not in path:
        return system.pinned(path, write)
    from bpflens.attach.pins import place
    from bpflens.attach.places import Places

    where = place(Places(system), path)
    return system.pinned(where.path, write, where.mount)


def pin_path(system: System, text: str) -> str:
    """The path of a pin, given by its bytes or as documents show it. Raises UsageError where they
    show several alike."""
    if "\ufffd" not in text:
        return text
    from bpflens.attach.places import Places
    from bpflens.rawtext import means

    paths = {pin.words for pin in Places(system).pins.found if means(text, pin.words)}
    if len(paths) < 2 or text in paths:
        return text if text in paths or not paths else paths.pop()
    few = few_text(sorted(paths))
    raise UsageError(f"{text} names {len(paths)} pins: give the bytes of one of {few}")


def _open_maps(system: System, ids: Iterable[int]) -> Iterator[Map]:
    for id in ids:
        try:
            yield system.map(id)
        except NotFound:
            continue


def _matching(objects: Iterable[O], test: Callable[[O], bool]) -> Iterator[O]:
    """Those for which the test holds; the others are closed, and so is one that vanishes."""
    for each in objects:
        try:
            holds = test(each)
        except NotFound:
            holds = False
        except BaseException:
            each.close()
            raise
        if holds:
            yield each
        else:
            each.close()


def _some(objects: Iterator[O], text: str, noun: str) -> Iterator[O]:
    """The same objects. Raises NotFound where there is none."""
    found = False
    for each in objects:
        found = True
        yield each
    if not found:
        raise NotFound(f"no {noun} matches {text}")
