"""`bpflens completion SHELL`."""

from __future__ import annotations

import argparse

from bpflens.cli.session import Session
from bpflens.errors import Unsupported

SHELLS = ("bash", "zsh", "fish")


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser.add_argument("shell", choices=SHELLS)
    parser.set_defaults(run=show)


def show(session: Session) -> int:
    """Print the script: static, so that a TAB starts no Python."""
    try:
        import shtab
    except ImportError as error:
        raise Unsupported("completion needs shtab: pip install 'bpflens[completion]'") from error
    from bpflens.cli.app import parser

    print(shtab.complete(parser(), session.options.shell))
    return 0
