"""`bpflens link detach` and `bpflens unpin`: say what would happen, ask, do it, look again."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bpflens.cli import output, selectors
from bpflens.cli.session import Session
from bpflens.errors import NotFound, Refused, Unsupported, UsageError
from bpflens.present.text import clean

if TYPE_CHECKING:
    from bpflens.snapshot.holders import Held
    from bpflens.snapshot.removal import Removal

MOST = 12
"""Holders that are named in a line."""


def removal_options(parser: argparse.ArgumentParser) -> None:
    """The options of verbs that take something away."""
    group = parser.add_argument_group("change")
    group.add_argument("--dry-run", action="store_true",
                       help="say what would happen, and change nothing")  # fmt: skip
    group.add_argument("--yes", action="store_true", help="do not ask")


def detach(session: Session) -> int:
    """`link detach LINK`."""
    from bpflens.attach.links import gone
    from bpflens.snapshot.links import LinkLook
    from bpflens.snapshot.removal import LAST_FD, of_link

    options, system = session.options, session.system
    look = LinkLook(system)
    # Our own fd would be among the holders: it is opened anew for the change.
    with selectors.one_link(system, options.selector) as link:
        facts = link.info()
    record = look.record(facts)
    removal = of_link(look, record)
    if gone(facts):
        raise Refused(f"link {record.id} is attached nowhere: there is nothing to detach")
    if options.dry_run and record.type in LAST_FD:
        raise Unsupported(_cannot(removal, record.type))
    if not _agreed(session, removal):
        return 0
    with selectors.one_link(system, options.selector) as link:
        if link.id != record.id:
            raise NotFound(f"{options.selector} is another link since: {link.id}")
        try:
            link.detach()
        except Unsupported as error:
            raise Unsupported(_cannot(removal, record.type)) from error
        link.basic(fresh=True)
        after = link.info()
    if not gone(after) and gone(after._replace(cgroup_id=0, netns_ino=0, map_id=0, ifindex=0)):
        raise Refused(f"the kernel took the call, and link {record.id} is still attached")
    _tell(session, removal, True)
    return 0


def unpin(session: Session) -> int:
    """`unpin PATH`."""
    from bpflens.snapshot.links import LinkLook
    from bpflens.snapshot.removal import of_pin, unpin

    look = LinkLook(session.system)
    pinned, removal = of_pin(look, selectors.pin_path(session.system, session.options.path))
    if not _agreed(session, removal):
        return 0
    unpin(session.system, pinned)
    _tell(session, removal, True)
    return 0


def _cannot(removal: Removal, type: str) -> str:
    return (
        f"{removal.words}: links of type {type} cannot be detached, they end with the last that "
        f"holds them; it is held by {_held(removal.held)}"
    )


def _agreed(session: Session, removal: Removal) -> bool:
    """Whether to go on: it is no dry run, and who asks for it has said yes. Raises UsageError,
    Refused."""
    options = session.options
    if options.dry_run:
        _tell(session, removal, False)
        return False
    if options.yes:
        return True
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError("stdin is no terminal to ask at: give --yes, or --dry-run to look first")
    sys.stdout.flush()
    for line in _lines(removal):
        print(clean(line), file=sys.stderr)
    print(f"{removal.action}? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Refused("nothing was changed")
    return True


def _tell(session: Session, removal: Removal, done: bool) -> None:
    """What happened, or would happen."""
    if session.form in ("json", "jsonl"):
        from bpflens.present.documents import encode
        from bpflens.snapshot.records import SCHEMA

        held = {"held": _item(removal.held), "prog_held": _item(removal.prog_held)}
        head = {"schema": SCHEMA, "kind": "removal"}
        output.write([encode(head | removal._asdict() | held | {"done": done})])
        return
    output.write(map(clean, _lines(removal, done)))
    if not done:
        output.note("dry run: nothing was changed")


def _item(held: Held | None) -> dict[str, object] | None:
    if held is None:
        return None
    return {
        name: [{k: v for k, v in each._asdict().items() if v not in (None, {})} for each in part]
        for name, part in held._asdict().items()
    }


def _lines(removal: Removal, done: bool = False) -> Iterator[str]:
    if removal.action == "detach":
        yield f"{removal.words}{': detached' if done else ''}"
        yield f"the link stays, and does nothing, while it is held by {_held(removal.held)}"
    else:
        yield f"{removal.path}: {'was ' if done else ''}a pin of {removal.words}"
        if not removal.held.holders and not removal.held.unseen:
            yield f"nothing else holds the {removal.object}: it goes with the pin"
        else:
            yield f"the {removal.object} is also held by {_held(removal.held)}"
    if removal.prog_held is not None:
        yield f"program {removal.prog_id} is held by {_held(removal.prog_held)}"


def _held(held: Held) -> str:
    """Holders in one line, and what could not be looked at."""
    words = [each.words for each in held.holders[:MOST]]
    if len(held.holders) > MOST:
        words.append(f"{len(held.holders) - MOST} more")
    told = ", ".join(words) or "nothing that can be seen"
    unseen = "; ".join(f"{each.what}: {each.reason}" for each in held.unseen)
    return f"{told} (not seen: {unseen})" if unseen else told
