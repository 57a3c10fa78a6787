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
    except MemoryError:
        why = "there is not enough memory"
    except (ImportError, OSError) as error:  # no fd or memory is left for a module of ours
        why = f"a part of bpflens cannot be loaded: {error}"
    # Only here are the frames gone that had the memory.
    try:  # noqa: SIM105 (contextlib costs 4 ms of start-up)
        print(f"bpflens: {why}", file=sys.stderr)
    except OSError:
        pass  # stderr cannot be written to: the status says it
    return 1


def _main(arguments: list[str] | None) -> int:
    ours = arguments is None  # the process
    arguments = sys.argv[1:] if arguments is None else arguments
    if ours and None in (sys.stdin, sys.stdout, sys.stderr):
        from bpflens.cli.streams import open_closed

        open_closed()
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
