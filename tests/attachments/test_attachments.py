"""Every way to attach a program, done for real: shown right, or the docs say why it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from bpflens.testing.attachments import suite, table
from bpflens.testing.bench import Bench
from bpflens.testing.conformance.differences import BUILT_WITHOUT

PAGE = Path(__file__).resolve().parents[2] / "docs" / "attachments.md"


@pytest.mark.parametrize("case", suite.cases(), ids=table.row_of)
def test_shown_as_the_docs_say(bench: Bench, case: suite.Case) -> None:
    reason = suite.run(case, bench).reason
    column = table.of_page(PAGE.read_text()).get(bench.name)
    if column is not None:  # the table has one release of the engine
        told = column.get(table.row_of(case))
        if told == "" and bench.name.startswith("linux") and reason in BUILT_WITHOUT:
            pytest.xfail(reason)  # the policy of a machine: another with this release has it
        assert told == reason, "run: python -m tools.attachments"


def test_every_kernel_of_the_issue_is_in_the_table_with_every_case() -> None:
    columns = table.of_page(PAGE.read_text())
    assert list(columns) == ["linux 7.2", "linux 6.18", "linux 6.12", "linux 6.1", "engine 6.18"]
    rows = [table.row_of(case) for case in suite.cases()]
    assert len(set(rows)) == len(rows)
    for kernel, column in columns.items():
        assert list(column) == rows, kernel
