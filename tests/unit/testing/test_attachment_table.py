"""The table of attachments can be read back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bpflens.testing.attachments import table

WORDS = st.from_regex(r"[a-z][a-z ,:()+]{0,20}[a-z]", fullmatch=True)
ROWS = st.lists(WORDS, min_size=1, max_size=6, unique=True)
REASONS = st.one_of(st.just(""), WORDS)


@given(st.data())
def test_round_trip(data: st.DataObject) -> None:
    rows = data.draw(ROWS)
    columns = {
        kernel: dict(zip(rows, data.draw(st.lists(REASONS, min_size=len(rows), max_size=len(rows))),
                         strict=True))
        for kernel in ("linux 6.18", "engine")
    }  # fmt: skip
    page = f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n"
    assert table.of_page(table.into_page(page, table.render(rows, columns))) == columns


def test_what_was_not_run_is_not_in_the_column() -> None:
    told = table.render(["a", "b"], {"linux": {"a": ""}})
    assert table.parse(told) == {"linux": {"a": ""}}
