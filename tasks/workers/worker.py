"""A process that draws: its device, and what it has loaded."""

import gc
import os
import socket
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from threading import Lock

import torch

from fgds_core.adapt.apply import adapted
from fgds_core.adapt.recipe import AdaptedRecipe, adapts
from fgds_core.data.meta import read_meta
from fgds_core.errors import InputError
from fgds_core.synthesis.models import LoadedModels, load_models
from fgds_core.synthesis.recipe import Recipe
from tasks.identity.drawing import drawing_code, guides
from tasks.store.inputs import Shared, fetch
from tasks.watch.progress import say
from tasks.watch.timing import work
from tasks.workers.config import ComputeConfig
from tasks.workers.devices import ClaimedDevice, claim_device, use_device
from tasks.workspace import Workspace


@dataclass(frozen=True)
class Sources:
    """What all parts of a run are drawn from, as a worker has to have it too.

    Attributes:
        recipe: How the images are drawn.
        inputs: Digest of all that is loaded.
        code: Digest of the code that draws.
        store: Where inputs and parts are, if not all in the worker's workspace.
        resampled: The classes that real images fill.
    """

    recipe: Recipe
    inputs: str
    code: str
    store: Shared | None = None
    resampled: frozenset[str] = frozenset()


class Worker:
    """Holds what one process draws with: a device for its life, and the models it loaded last.

    Its threads share the models, and a CPU, but take turns on a GPU.
    """

    def __init__(self) -> None:
        self._gpu: ClaimedDevice | None = None
        self._loaded: tuple[object, LoadedModels] | None = None
        self._adapted: LoadedModels | None = None
        self._loading = Lock()
        self._drawing = Lock()

    def models(
        self,
        sources: Sources,
        compute: ComputeConfig,
        workspace: Workspace,
        class_name: str | None = None,
    ) -> LoadedModels:
        """Loads the networks and opens the real images, once for each content of the inputs.

        Args:
            sources: What parts are drawn from.
            compute: The device.
            workspace: Where that lies.
            class_name: Of what is drawn, which may be with an adapter; None is without one.

        Raises:
            InputError: An input is missing or does not fit, there is no device, or this worker's
                code is not the flow's, which names the images by its own.
        """
        if drawing_code(sources.recipe) != sources.code:
            raise InputError(
                f"the worker on {socket.gethostname()} (process {os.getpid()}) has other code than"
                " the flow; bring its copy of the repository up to date and start it again"
            )
        key = (sources, compute, workspace, Path.cwd())
        with self._loading:
            if self._loaded is None or self._loaded[0] != key:
                # First, for a worker that lives on may lack room for both
                self._loaded = self._adapted = None
                gc.collect()
                self._loaded = (key, self._load(sources, compute, workspace))
            plain = self._loaded[1]
            if class_name is None or not adapts(sources.recipe, class_name):
                return plain
            if self._adapted is None:
                self._adapted = adapted_models(plain, sources.recipe, compute, workspace)
            return self._adapted

    def turn(self, device: torch.device) -> AbstractContextManager[object]:
        """A turn on the device that the models are on."""
        return nullcontext() if device.type == "cpu" else self._drawing

    def _load(
        self, sources: Sources, compute: ComputeConfig, workspace: Workspace
    ) -> LoadedModels:
        if sources.store is not None:
            fetch(sources.store, workspace)
        device = self._device(compute)
        say("synthesize", f"loading the real images, the classifier and the generator on {device}")
        with work():
            return load_models(
                sources.recipe,
                workspace.prepared,
                guides(sources.recipe.synthesize, workspace),
                device,
                micro_batch=compute.micro_batch,
                channels_last=compute.channels_last,
                compile=compute.compile,
                gradient_checkpointing=compute.gradient_checkpointing,
            )

    def _device(self, compute: ComputeConfig) -> str:
        """The device; a GPU is claimed once, whatever is loaded and drawn later."""
        device = use_device(compute)
        if device != "cuda":
            return device
        if self._gpu is None:
            self._gpu = claim_device(compute)
        return self._gpu.name


def adapted_models(
    plain: LoadedModels, recipe: Recipe, compute: ComputeConfig, workspace: Workspace
) -> LoadedModels:
    """Models whose generator has learnt; where all classes need that, it takes the other's place.

    Raises:
        InputError: There is no adapter, or it is of another generator.
    """
    assert isinstance(recipe, AdaptedRecipe)
    say("synthesize", f"loading what the generator has learnt from {workspace.adapter}")
    with work():
        generator = adapted(
            plain.generator,
            workspace.adapter,
            apart=set(recipe.classes) < set(read_meta(workspace.prepared).class_names),
            compile=compute.compile,
        )
        return replace(plain, generator=generator)


def this_worker() -> Worker:
    """The worker that this process is; the first call makes it."""
    with _making:
        return _worker()


_making = Lock()


@cache
def _worker() -> Worker:
    return Worker()
