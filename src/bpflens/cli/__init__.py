"""The command line."""

from __future__ import annotations

import sys

INTERRUPTED = 130
"""128 + SIGINT, as a shell reports it."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    try:
        return _main(arguments)
    except KeyboardInterrupt:  # also while modules are imported
        return INTERRUPTED


def _main(arguments: list[str] | None) -> int:
    ours = arguments is None  # the process
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments in (["--version"], ["-V"]):  # before the imports that a real command needs
        from bpflens import __version__

        try:
            print(f"bpflens {__version__}", flush=True)
        except OSError as error:
            from bpflens.cli.app import unwritable

            return unwritable(error)
        return 0
    if ours:
        import gc

        # Modules and records have no cycles, so looking for them after every 700 objects finds
        # nothing: a tenth of a long list's time.
        gc.set_threshold(100_000)
    from bpflens.cli.app import run

    return run(arguments)
