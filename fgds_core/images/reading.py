"""How a stage reads through a whole set of images once; changes no result."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Reading:
    """How images are read.

    Attributes:
        batch_size: Images a pass.
        workers: Processes that read ahead; 0 reads in this one.
        advance: Called after each batch with the number of its images.
    """

    batch_size: int = 64
    workers: int = 0
    advance: Callable[[int], None] = lambda num_images: None


IN_THIS_PROCESS = Reading()
"""Reads small batches and tells no one."""
