"""Faults in the code of a run: Python imports this first in processes whose PYTHONPATH names it.

`FGDS_FAULT` chooses one; the file `FGDS_DRAWN` gets a line for each part that is drawn. The code
on disk, and so every digest of it, stays as it is.
"""

import os
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder


def _is_chosen(request) -> bool:
    """One in ten images of the second class."""
    return request.label == 1 and request.index % 10 == 3


def two_gpus(devices) -> None:
    devices._num_gpus = lambda compute: 2


def raises(synthesize) -> None:
    draw = synthesize.draw

    def failing(generator, requests, *arguments, **options):
        if any(map(_is_chosen, requests)):
            raise RuntimeError("this image cannot be drawn")
        return draw(generator, requests, *arguments, **options)

    synthesize.draw = failing


def not_finite(synthesize, attempts: float) -> None:
    draw = synthesize.draw

    def spoiling(generator, requests, *arguments, **options):
        drawn = draw(generator, requests, *arguments, **options)
        for image, request in zip(drawn.images, requests, strict=True):
            if _is_chosen(request) and request.attempt < attempts:
                image.fill_(float("nan"))
        return drawn

    synthesize.draw = spoiling


def counted(part_module) -> None:
    write_part = part_module.write_part

    def counting(part, *arguments, **options):
        with open(os.environ["FGDS_DRAWN"], "a") as file:
            file.write(f"{os.getpid()} {part.path}\n")
        return write_part(part, *arguments, **options)

    part_module.write_part = counting


FAULTS = {
    "none": ("fgds_core.synthesis.draw", lambda module: None),
    "two gpus": ("tasks.workers.devices", two_gpus),
    "raises": ("fgds_core.synthesis.draw", raises),
    "nan once": ("fgds_core.synthesis.draw", lambda module: not_finite(module, 1)),
    "nan always": ("fgds_core.synthesis.draw", lambda module: not_finite(module, float("inf"))),
}


class _Injecting(MetaPathFinder):
    """Changes modules as soon as they are imported."""

    def __init__(self, changes) -> None:
        self.changes = changes

    def find_spec(self, name, path, target=None):
        changes = [change for module, change in self.changes if module == name]
        if not changes:
            return None
        spec = PathFinder.find_spec(name, path, target)
        execute = spec.loader.exec_module

        def execute_and_change(module) -> None:
            execute(module)
            for change in changes:
                change(module)

        spec.loader.exec_module = execute_and_change
        return spec


if "FGDS_FAULT" in os.environ:
    chosen = FAULTS[os.environ["FGDS_FAULT"]]
    sys.meta_path.insert(0, _Injecting([chosen, ("fgds_core.synthesis.part", counted)]))
