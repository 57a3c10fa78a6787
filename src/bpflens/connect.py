"""The one place that knows every kernel: from a name to its doors."""

from __future__ import annotations

import importlib
import os

from bpflens.errors import UsageError
from bpflens.model.parts import Part
from bpflens.model.system import System
from bpflens.port.doors import Doors
from bpflens.snapshot.records import Snapshot
from bpflens.snapshot.take import LIST_PARTS, take

KERNELS = "linux (this machine, the default), engine:demo, engine:FILE.py, or a recording's path"


def doors(on: str = "linux") -> Doors:
    """The doors of a kernel by its name. Raises UsageError, Unsupported, FormatError."""
    if on == "linux":
        from bpflens.linux.doors import doors as live

        return live()
    name, _, scene = on.partition(":")
    if name == "engine":
        return _scene(scene or "empty")
    if os.sep in on or os.path.exists(on):  # what looks like a path and cannot be read says why
        from bpflens.port.replay import Replay

        return Replay(on).doors
    raise UsageError(f"there is no kernel {on!r}: give {KERNELS}")


SCENES = ("demo", "empty")
"""The worlds that come with bpflens, in `testing/scenes`."""


def _scene(name: str) -> Doors:
    """The doors of the engine, as the task sees it that a scene returns. Raises UsageError."""
    if name in SCENES:
        found: Doors = importlib.import_module(f"bpflens.testing.scenes.{name}").scene().doors()
        return found
    if not os.path.isfile(name):
        raise UsageError(
            f"there is no scene {name!r}: give {', '.join(SCENES)}, or a Python file that "
            "defines scene()"
        )
    import runpy

    from bpflens.engine.tasks import Task

    try:
        scene = runpy.run_path(name).get("scene")
        task = scene() if callable(scene) else None
    except Exception as error:  # whatever a user's own file may raise
        reason = f"{type(error).__name__}: {error}"
        raise UsageError(f"{_place(error, name)}: {reason}") from error
    if not isinstance(task, Task):
        raise UsageError(f"{name} does not define a scene() that returns a task of an engine")
    return task.doors()


def _place(error: Exception, path: str) -> str:
    """The file, and the last of its lines on the way to an error."""
    place, frame = path, error.__traceback__
    while frame:
        if frame.tb_frame.f_code.co_filename == path:
            place = f"{path}, line {frame.tb_lineno}"
        frame = frame.tb_next
    return place


def open(on: str = "linux") -> System:
    """The BPF objects of a kernel: `linux`, `engine:demo`, `engine:FILE.py` or a recording's path.

    Nothing is written to disk: a library's caller may be a service without a home, or may run as
    root in another user's. `System.index_dir` names a folder in which what takes long to make
    (0.3 s on a kernel's first look) is kept for the next process, as the command line does.
    """
    return System(doors(on))


def look(on: str = "linux", parts: Part = LIST_PARTS) -> Snapshot:
    """One look at every program and map of a kernel, as plain records.

    Raises Denied where nothing may be seen; what single objects refuse is in the records.
    """
    with open(on) as system:
        return take(system, parts)
