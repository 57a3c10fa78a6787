"""Run the suite of attachments on every kernel at hand, and write the table of docs/attachments.md.

    python -m tools.attachments

Needs root, and QEMU with Debian's kernels (`make vm`). A kernel that cannot be run keeps the column
that it has.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bpflens.testing.attachments import suite, table
from bpflens.testing.attachments.__main__ import read
from tools.vm import guest as vm
from tools.vm import kernels

PAGE = Path(__file__).resolve().parent.parent / "docs" / "attachments.md"
MODULE = ["-m", "bpflens.testing.attachments"]


def column(output: str, status: int, name: str) -> table.Column:
    """The column in what the suite said; what is wrong goes to stderr."""
    wrong = [line for line in output.splitlines() if not line.startswith(("yes\t", "no\t"))]
    if status:
        print(f"{name}:", *wrong, sep="\n", file=sys.stderr)
    return read(output)


def here(*kernel: str) -> table.Column:
    """On this machine: its Linux, or an engine."""
    done = subprocess.run(
        [sys.executable, *MODULE, *kernel], capture_output=True, text=True, check=False
    )
    return column(done.stdout + done.stderr, done.returncode, " ".join(kernel))


def there(version: str) -> table.Column:
    """On one of Debian's kernels."""
    with vm.boot(kernels.find(version)) as guest:
        done = guest.run(["python3", *MODULE, "linux"], timeout=600)
    return column(done.stdout + done.stderr, done.returncode, f"linux {version}")


def main() -> int:
    page = PAGE.read_text()
    before = table.of_page(page)
    columns = {
        "linux 7.2": there("7.2"),
        "linux 6.18": here("linux"),
        "linux 6.12": there("6.12"),
        "linux 6.1": there("6.1"),
        "engine 6.18": here("engine", "6.18"),
    }
    rows = [table.row_of(case) for case in suite.cases()]
    whole = {name: told or before.get(name, {}) for name, told in columns.items()}
    PAGE.write_text(table.into_page(page, table.render(rows, whole)))
    return 0 if all(list(told) == rows for told in columns.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
