"""Where a training stands, at rest: what lets one that was killed go on to the same weights."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from fgds_core.files import replacing

logger = logging.getLogger(__name__)


@dataclass
class Checkpoint:
    """A file that holds the state of one training, written now and then.

    Attributes:
        path: The file. It is our own, beside no outputs; nothing else reads it.
        key: What the training is made of: configuration, seed, data and code. A state of another
            key is not this training's.
        every_s: Seconds from one writing to the next.
        clock: Tells seconds.
    """

    path: Path
    key: str
    every_s: float
    clock: Callable[[], float] = time.monotonic
    _written: float = field(init=False)

    def __post_init__(self) -> None:
        self._written = self.clock()

    def read(self) -> dict[str, Any] | None:
        """The state that was written last, its tensors on the CPU; None if there is none."""
        try:
            stored = torch.load(self.path, map_location="cpu", weights_only=True)
            if stored["key"] == self._full_key():
                return dict(stored["state"])
        except FileNotFoundError:
            return None
        except (OSError, RuntimeError, EOFError, UnpicklingError, KeyError, TypeError, ValueError):
            logger.warning("%s is damaged; training starts from the beginning", self.path)
        return None

    def write(self, state: Callable[[], dict[str, Any]]) -> None:
        """Writes the state if it is time to.

        Raises:
            InputError: The disk is full or may not be written.
        """
        if self.clock() - self._written < self.every_s:
            return
        with replacing(self.path) as part, part.open("wb") as file:
            try:
                torch.save({"key": self._full_key(), "state": state()}, file)
            except RuntimeError as error:
                # torch goes on to end its archive when the disk has failed, and fails again
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise
        self._written = self.clock()

    def remove(self) -> None:
        """Forgets the state; the training is over and its results are safe."""
        self.path.unlink(missing_ok=True)

    def _full_key(self) -> str:
        return f"{self.key} {torch.__version__}"
