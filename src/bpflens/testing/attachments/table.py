"""What came of every case on every kernel, as a table for people that can be read back."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bpflens.testing.attachments.suite import Case

Column = dict[str, str]
"""Row → why it is not shown there, or nothing where it is shown right."""

BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"


def row_of(case: Case) -> str:
    """How a case is called in the table."""
    return f"{case.kind}: {case.name}" if case.name else case.kind


def render(rows: Iterable[str], columns: dict[str, Column]) -> str:
    """The table, with a numbered reason for each cell that is not `yes`."""
    reasons: dict[str, int] = {}

    def cell(row: str, column: Column) -> str:
        if row not in column:
            return "?"
        reason = column[row]
        return f"no ({reasons.setdefault(reason, len(reasons) + 1)})" if reason else "yes"

    lines = ["| attachment | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [
        f"| {row} | " + " | ".join(cell(row, column) for column in columns.values()) + " |"
        for row in rows
    ]
    lines += ["", *(f"{number}. {reason}" for reason, number in reasons.items())]
    return "\n".join(lines) + "\n"


def parse(text: str) -> dict[str, Column]:
    """The columns of a rendered table."""
    reasons = dict(re.findall(r"^(\d+)\. (.*)$", text, re.MULTILINE))
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    columns: dict[str, Column] = {name: {} for name in cells[0][1:]} if cells else {}
    for row, *answers in cells[2:]:
        for column, answer in zip(columns.values(), answers, strict=True):
            number = answer.removeprefix("no (").removesuffix(")")
            if answer != "?":
                column[row] = "" if answer == "yes" else reasons[number]
    return columns


def of_page(page: str) -> dict[str, Column]:
    """The columns of the table in a page of the docs."""
    return parse(page.partition(BEGIN)[2].partition(END)[0])


def into_page(page: str, table: str) -> str:
    """The page with another table in it."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n\n{table}\n{END}{rest.partition(END)[2]}"
