"""The verbs that every kind of object has: `list`, and `show` of one or of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from bpflens.cli import output
from bpflens.cli.options import add_verb
from bpflens.cli.session import Session
from bpflens.model.parts import Part
from bpflens.model.system import System
from bpflens.present.columns import Noun
from bpflens.snapshot.records import ErrorRecord
from bpflens.snapshot.take import LIST_PARTS

if TYPE_CHECKING:
    from bpflens.cli.options import Verbs

Found = tuple[Iterable[Any], list[ErrorRecord]]
"""Records; and what could not be looked at, complete when all records have been taken."""

Look = Callable[[System, Part, str | None], Found]
"""From the parts to read and a selector, or None for all objects."""


def add_list_and_show(
    verbs: Verbs, noun: Noun, what: str, forms: str, look: Look, default: Part = LIST_PARTS,
    shown: Part | None = None,
) -> None:  # fmt: skip
    """Add both; `what` is one such object in words, `forms` are those of its selector.

    `default` are the parts that both read, `shown` what `show` reads beside them.
    """

    wider = default if shown is None else default | shown

    def run(session: Session) -> int:
        options = session.options
        detail = options.verb == "show"
        choice = output.Choice(noun, options, wider if detail else default)
        records, errors = look(session.system, choice.parts, getattr(options, "selector", None))
        return output.show(session, choice, records, errors, detail=detail)

    add_verb(verbs, "list", f"a line a {what}", noun, run)
    show = add_verb(verbs, "show", f"all of a {what}, or of each", noun, run, wider)
    show.add_argument("selector", nargs="?", metavar=what.split()[0].upper(), help=forms)
