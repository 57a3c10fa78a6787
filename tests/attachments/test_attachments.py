"""Every way to attach a program, done for real: shown right, or the docs say why it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from bpflens.testing.attachments import suite, table
from bpflens.testing.bench import Bench

PAGE = Path(__file__).resolve().parents[2] / "docs" / "attachments.md"


@pytest.mark.parametrize("case", suite.cases(), ids=table.row_of)
def test_shown_as_the_docs_say(bench: Bench, case: suite.Case) -> None:
    reason = suite.run(case, bench).reason
    column = table.of_page(PAGE.read_text()).get(bench.name)
    if column is not None:  # the table has one release of the engine
        assert column.get(table.row_of(case)) == reason, "run: python -m tools.attachments"


def test_every_kernel_of_the_issue_is_in_the_table_with_every_case() -> None:
    columns = table.of_page(PAGE.read_text())
    assert list(columns) == ["linux 7.2", "linux 6.18", "linux 6.12", "linux 6.1", "engine 6.18"]
    rows = [table.row_of(case) for case in suite.cases()]
    assert len(set(rows)) == len(rows)
    for kernel, column in columns.items():
        assert list(column) == rows, kernel
