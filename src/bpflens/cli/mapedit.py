"""`bpflens map set|delete|push|pop`: changes to the elements of a map."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from bpflens.abi.mapfacts import Value, Walk
from bpflens.cli import output, selectors
from bpflens.cli.elements import View
from bpflens.cli.options import add_verb
from bpflens.cli.reading import KEY_FORMS, Typing, key_of, reading_options, whole
from bpflens.cli.session import Session
from bpflens.errors import Denied, NotFound, UsageError
from bpflens.model import change as edit
from bpflens.model.change import Assignment, Change
from bpflens.model.elements import Element, find
from bpflens.model.map import Map
from bpflens.model.typed import Readings
from bpflens.snapshot.elements import Describer

if TYPE_CHECKING:
    import argparse

    from bpflens.cli.options import Verbs
    from bpflens.model.program import Program

CHANGE_FORMS = (
    "value.packets=7, value.slots[3]=0; the whole value: value=7, 7, hex:0700000000000000; "
    "prog:12 or map:12 where the map holds programs or maps"
)
NOT_ATOMIC = "the kernel has no compare-and-set: another writer can come between check and write"


def add_verbs(verbs: Verbs) -> None:
    """Add the verbs that change a map."""

    def verb(name: str, does: str, run: Callable[[Session], int]) -> argparse.ArgumentParser:
        parser = add_verb(verbs, name, does, None, run)
        parser.add_argument("selector", metavar="MAP", help=selectors.MAP_FORMS)
        reading_options(parser)
        group = parser.add_argument_group("change")
        group.add_argument("--dry-run", action="store_true",
                           help="show what would change, and change nothing")  # fmt: skip
        if name in ("set", "delete"):
            words = f"only where this holds now, as value.state=1 ({NOT_ATOMIC})"
            group.add_argument("--expect", metavar="FIELD=VALUE", action="append", default=[],
                               help=words)  # fmt: skip
        return parser

    change = verb("set", "change fields of an element, or the whole of it", set_element)
    change.add_argument("words", nargs="+", metavar="[KEY] CHANGE",
                        help=f"KEY: {KEY_FORMS}; none where an array has one element, as global "
                        f"data. CHANGE: {CHANGE_FORMS}")  # fmt: skip
    which = change.add_mutually_exclusive_group()
    which.add_argument("--create", action="store_true",
                       help="only where there is none; fields not named are 0")  # fmt: skip
    which.add_argument("--replace", action="store_true", help="only where there is one")
    change.add_argument("--cpu", type=int, metavar="N", help="the value of this CPU alone")
    delete = verb("delete", "remove an element", delete_element)
    delete.add_argument("key", metavar="KEY", help=KEY_FORMS)
    push = verb("push", "put a value into a queue or stack", push_value)
    push.add_argument("value", nargs="+", metavar="VALUE",
                      help=f"{CHANGE_FORMS}; fields not named are 0")  # fmt: skip
    push.add_argument("--replace", action="store_true", help="where it is full, drop the oldest")
    pop = verb("pop", "take the next value out of a queue or stack, or an element out of a hash",
               pop_value)  # fmt: skip
    pop.add_argument("key", nargs="?", metavar="KEY", help=KEY_FORMS)


def set_element(session: Session) -> int:
    """`map set MAP [KEY] CHANGE...`."""
    options = session.options
    typing = Typing(session)
    with selectors.one_map(session.system, options.selector) as found, ExitStack() as held:
        how = typing.of(found)
        key, words = _key_and_changes(found, how, options.words)
        assignments = [_assignment(word) for word in words]
        cpu, holds_fds = _cpu(found, options.cpu), edit.holds_fds(found)
        element = None if options.create else edit.present(found, key)
        before = element.values if element else None
        # A field can be changed of what is there; the whole value can also be stored anew.
        there = options.replace or not (options.create or any(not p for p, _ in assignments))
        if there and before is None:
            raise edit.absent(found, key, ": --create makes it")
        if options.expect:
            _check(found, before, options.expect, how, cpu)
        blank = (bytes(found.basic().value_size),) * _cpus(found)
        write = _writer(session, found, how, held)
        after = edit.assigned(before or blank, assignments, write, cpu)
        edit.check_special_fields(found, before or blank, after)
        change = Change(key, before, after)
        # What vanishes meanwhile must not come back with some fields of the old value.
        flags = edit.NOEXIST if options.create else edit.EXIST if there else edit.ANY
        if holds_fds and found.facts.walk is Walk.INDEX:
            flags = edit.ANY  # bpf_fd_array_map_update_elem() takes no other
        _make(session, found, lambda target: edit.store(target, change, flags))
        if holds_fds:  # an ID is read where an fd was written
            id = selectors.number(words[-1].partition(":")[2], words[-1])
            change = change._replace(after=(struct.pack("=I", id),))
        _tell(session, found, how, change)
        lost = edit.lost_with(found) if before is not None else []
        if lost:
            output.note(f"the kernel makes a new element of it, without its {', '.join(lost)}")
    return 0


def _cpu(found: Map, asked: int | None) -> int | None:
    """The CPU whose value alone is meant. Raises UsageError."""
    if asked is not None and not (found.facts.per_cpu and 0 <= asked < _cpus(found)):
        raise UsageError(f"--cpu {asked}: map {found.id} has no value of its own there")
    return asked


def delete_element(session: Session) -> int:
    """`map delete MAP KEY`."""
    options = session.options
    typing = Typing(session)
    with selectors.one_map(session.system, options.selector) as found:
        how = typing.of(found)
        key = key_of(options.key, found, how.key)
        element = edit.present(found, key)
        if element is None:
            raise edit.absent(found, key)
        if options.expect:
            _check(found, element.values, options.expect, how)
        _make(session, found, lambda target: edit.remove(target, key))
        _tell(session, found, how, Change(key, element.values, None))
    return 0


def push_value(session: Session) -> int:
    """`map push MAP VALUE`."""
    options = session.options
    typing = Typing(session)
    with selectors.one_map(session.system, options.selector) as found, ExitStack() as held:
        if found.facts.walk is not Walk.PEEK:
            raise UsageError(f"map {found.id} has type {found.type.label}: use 'map set'")
        how = typing.of(found)
        changes = [_assignment(word) for word in options.value]
        write = _writer(session, found, how, held)
        after = edit.assigned((bytes(found.basic().value_size),), changes, write)
        change = Change(b"", None, after)
        flags = edit.EXIST if options.replace else edit.ANY
        _make(session, found, lambda target: edit.store(target, change, flags))
        _tell(session, found, how, change)
    return 0


def pop_value(session: Session) -> int:
    """`map pop MAP [KEY]`."""
    options = session.options
    typing = Typing(session)
    with selectors.one_map(session.system, options.selector) as found:
        how = typing.of(found)
        key = key_of(options.key, found, how.key)
        if options.dry_run:
            edit.would_refuse(found)
            taken = find(found, key)
            output.note("dry run: nothing was changed")
        else:
            with _writable(session, found) as target:
                taken = edit.take(target, key)
        view = View(session, found, how, False)
        view.write(view.describer.records([taken]), None, detail=True)
    return 0


# --- what the words of a change mean


def _key_and_changes(found: Map, how: Readings, words: list[str]) -> tuple[bytes, list[str]]:
    """The key's bytes, and the words of the change. Raises UsageError."""
    told = found.basic()
    if found.facts.walk is Walk.PEEK:
        kind = found.type.label
        raise UsageError(f"map {told.id} has type {kind}: use 'map push' and 'map pop'")
    if edit.assignment(words[0]) is not None:
        if found.facts.walk is not Walk.INDEX or told.max_entries != 1:
            raise UsageError(f"map {told.id} has many elements: give a key before {words[0]}")
        return bytes(told.key_size), words
    if len(words) == 1:
        raise UsageError(f"give a change after the key: {CHANGE_FORMS}")
    return key_of(words[0], found, how.key), words[1:]


def _assignment(word: str) -> Assignment:
    return edit.assignment(word) or Assignment("", word)


def _check(
    found: Map,
    values: tuple[bytes, ...] | None,
    expected: list[str],
    how: Readings,
    cpu: int | None = None,
) -> None:
    conditions = [edit.assignment(word) for word in expected]
    for word, condition in zip(expected, conditions, strict=True):
        if condition is None:
            raise UsageError(f"--expect {word}: write it like value.state=1")
    if values is None:
        raise NotFound(f"--expect: map {found.id} has no such element")
    if how.value is None:
        raise UsageError(f"--expect: say what the values of map {found.id} are with --value-as")
    meant = values if cpu is None else values[cpu : cpu + 1]
    edit.check(meant, [c for c in conditions if c], how.value)
    output.note(NOT_ATOMIC)


def _cpus(found: Map) -> int:
    return found.system.cpus if found.facts.per_cpu else 1


def _writer(
    session: Session, found: Map, how: Readings, held: ExitStack
) -> Callable[[bytes, str, str], bytes]:
    """How a text becomes bytes of a value of this map."""

    def write(data: bytes, path: str, text: str) -> bytes:
        if not path and edit.holds_fds(found):
            return _reference(session, found, text, held)
        if not path:
            return whole(text, data, how.value)
        if how.value is None:
            raise UsageError(
                f"map {found.id} tells no types, so it has no field {path}: --value-as can tell"
            )
        return how.value.assign(data, path, text)

    return write


def _reference(session: Session, found: Map, text: str, held: ExitStack) -> bytes:
    """The fd of the object that a value names, open until the change is made."""
    noun = "prog" if found.facts.value is Value.PROG_ID else "map"
    kind, _, value = text.partition(":")
    if kind != noun:
        raise UsageError(f"map {found.id} holds references: give {noun}:12, not {text}")
    id = selectors.number(value, f"{noun}:12")
    system = session.system
    target: Program | Map = system.program(id) if noun == "prog" else system.map(id)
    held.enter_context(target)
    return struct.pack("=i", target.fd)


def _make(session: Session, found: Map, change: Callable[[Map], None]) -> None:
    """Make a change; with --dry-run, see whether it would be refused."""
    if session.options.dry_run:
        edit.would_refuse(found)
        return
    with _writable(session, found) as target:
        change(target)


@contextmanager
def _writable(session: Session, found: Map) -> Iterator[Map]:
    """The same map, open for writing: by its ID, or by the pin that the selector names."""
    kind, _, path = session.options.selector.partition(":")
    try:
        target = session.system.map(found.id, write=True)
    except Denied:
        if kind != "pin":
            raise
        opened = selectors.pinned(session.system, path, write=True)
        if not isinstance(opened, Map) or opened.id != found.id:
            opened.close()
            raise NotFound(f"another object is pinned at {path} since") from None
        target = opened
    with target:
        yield target


# --- what is said of a change


def _tell(session: Session, found: Map, how: Readings, change: Change) -> None:
    """Before and after, and whether it happened."""
    from bpflens.present import changes, documents
    from bpflens.snapshot.elements import named_map

    describer = Describer(session.system, how, found.facts.per_cpu)
    sides = []
    for values in (change.before, change.after):
        element = None if values is None else Element(change.key, values)
        sides.append(None if element is None else next(iter(describer.records([element]))))
    dry = session.options.dry_run
    if session.form in ("json", "jsonl"):
        told = changes.document(named_map(found), sides[0], sides[1], not dry)
        output.write([documents.encode(told)])
        return
    output.write(changes.lines(sides[0], sides[1]))
    if dry:
        output.note("dry run: nothing was changed")
