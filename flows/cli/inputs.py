"""Checks what a run is given - data, generator, judge - before its first stage does any work.

Reads configurations and the headers of weights, loads no network but the judge's, and takes
seconds. What a stage computes from is checked there again; here nothing is computed, so that a
mistake in what the last stages need is known before the first one has been paid for.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fgds_core.assess.config import AssessConfig
from fgds_core.assess.networks import check_inception, check_tower
from fgds_core.data.meta import read_meta
from fgds_core.data.sources import class_names
from fgds_core.errors import InputError
from fgds_core.files import check_root, listed
from fgds_core.generators.adapter import adapter_weights, check_adapter
from fgds_core.generators.config import GeneratorConfig
from fgds_core.generators.family import load_family
from fgds_core.generators.folders import check_generator, check_latents, check_tiny_decoder
from fgds_core.generators.known import check_published
from fgds_core.generators.prior import check_prior
from fgds_core.judge.classifier import ELSE
from fgds_core.judge.config import JudgeConfig
from fgds_core.judge.kinds import load_kind
from fgds_core.pretrained.folder import Folder, check_place, read
from fgds_core.synthesis.config import SynthesizeConfig
from tasks.workspace import FIRST

WHOLE = ("synth_pipeline", "prepare")
"""What begins with the raw data."""

READING = (*WHOLE, "judge", "train_baseline", "train_control", "adapt", "synthesize", "assess")
"""Stages before or in which generator, judge or data are read."""

CHECKED = "FGDS_INPUTS_CHECKED"
"""Variable of the environment that says that the job has checked what its stages are given."""


def check_inputs(
    params: Mapping[str, Any], stage: str = "synth_pipeline", *, dry: bool = False
) -> None:
    """Checks everything about data, generator and judge that can be known without loading them.

    Args:
        params: Section -> its model, all of them.
        stage: The one that is to run.
        dry: Leaves out the trials of the solver and the judge, which need seconds to import what
            they need.

    Raises:
        InputError: Names the key, what is wrong, and what to do.
    """
    if stage not in READING or os.environ.get(CHECKED):
        return
    first = stage in WHOLE
    if first:
        check_root(params["data"].root)
    if stage != "assess":
        check_drawing(params["generator"], params["synthesize"], dry=dry)
        names = class_names(params["data"]) if first else prepared_names()
        check_judge(params["judge"], params["generator"], names, dry=dry)
        check_classes(params["adapt"].classes, names)
    check_features(params["assess"], params["generator"])


def check_drawing(
    generator: GeneratorConfig, synthesize: SynthesizeConfig, *, dry: bool = False
) -> None:
    """Checks the generator, what belongs to it, and how it is asked; see `check_inputs`.

    Raises:
        InputError: Something is missing or damaged, or does not fit.
    """
    unet = vae = None
    folder = _folder_of(generator.path, "generator.path", generator.revision)
    if folder is not None:
        local = None if folder == Path(generator.path) else folder
        _, configs = check_generator(generator, local)
        unet, vae = configs.get("unet"), configs[load_family(generator.kind).decoder]
        check_noise_level(synthesize.noise_level, configs)
        if not dry:
            check_published(generator.path, folder, "generator.path", generator.variant)
            index = read(Folder(folder, "generator.path"), "model_index.json")
            check_schedule(folder, str(index["scheduler"][1]), synthesize)
    adapter = generator.adapter
    if adapter is not None:
        folder = _folder_of(adapter.path, "generator.adapter.path", adapter.revision)
        if folder is not None:
            check_adapter(adapter, unet, folder)
            if not dry:
                only = adapter_weights(adapter)
                check_published(adapter.path, folder, "generator.adapter", only=only)
    prior = generator.prior
    if prior is not None:
        folder = _folder_of(prior.path, "generator.prior.path", prior.revision)
        if folder is not None:
            check_prior(
                prior, generator.variant, unet, None if folder == Path(prior.path) else folder
            )
            if not dry:
                check_published(prior.path, folder, "generator.prior", generator.variant)
    if generator.tiny_decoder is not None:
        folder = _folder_of(generator.tiny_decoder, "generator.tiny_decoder", None)
        if folder is not None:
            tiny = check_tiny_decoder(generator.tiny_decoder, folder)
            if not dry:
                check_published(generator.tiny_decoder, folder, "generator.tiny_decoder")
            if vae is not None:
                check_latents(tiny, vae)


def _folder_of(path: str, key: str, revision: str | None) -> Path | None:
    """The folder of a model; None where it is on the hub and will be checked when it is loaded."""
    if check_place(path, key):
        return Path(path)
    from huggingface_hub import constants, snapshot_download

    if not constants.HF_HUB_OFFLINE:
        print(f"{key}: {path} is on the hub; it is checked when it is loaded.", file=sys.stderr)
        return None
    try:
        return Path(snapshot_download(path, revision=revision, local_files_only=True))
    except Exception as error:  # it has many kinds
        raise InputError(
            f"{key}: there is no folder {path}, and the hub's cache does not hold the model"
            " (HF_HUB_OFFLINE is set); download it where there is a network, or give a folder"
        ) from error


def check_noise_level(noise_level: int, configs: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuses a noise on image embeddings that the generator does not know.

    Raises:
        InputError: Names `synthesize.noise_level`.
    """
    noising = configs.get("image_noising_scheduler")
    levels = 1000 if noising is None else noising.get("num_train_timesteps", 1000)
    if type(levels) is not int or noise_level >= levels:
        raise InputError(
            f"synthesize.noise_level is {noise_level}, but the generator was trained with"
            f" {levels} levels of noise on image embeddings, from 0 on;"
            " lower it"
        )


def check_schedule(folder: Path, scheduler: str, synthesize: SynthesizeConfig) -> None:
    """Refuses a solver that does not solve the schedule the generator was trained with.

    Args:
        folder: The generator's.
        scheduler: Name of the class of its own scheduler.
        synthesize: Names the solver and its steps.

    Raises:
        InputError: The schedule cannot be read, or the solver does not fit it.
    """
    from fgds_core.diffusion.trial import check_solver, read_schedule

    schedule = read_schedule(Folder(folder / "scheduler", "generator.path"), scheduler)
    check_solver(synthesize.scheduler, schedule, synthesize.num_inference_steps)


def check_judge(
    config: JudgeConfig,
    generator: GeneratorConfig,
    names: Sequence[str] | None,
    *,
    dry: bool = False,
) -> None:
    """Refuses what cannot judge images of the data's classes, and the classifier that guides.

    Args:
        config: The section judge.
        generator: Its own tower may be asked.
        names: The data's classes; None where they are not known yet.
        dry: Does not try to load a classifier.

    Raises:
        InputError: Names the key.
    """
    load_kind(config.kind).check(config, generator, names)
    if config.kind != "classifier" or config.path is None:
        return
    guides = (FIRST.baseline, FIRST.control, FIRST.final)
    if Path(config.path).resolve() in [guide.resolve() for guide in guides]:
        raise InputError(
            f"judge.path: {config.path} is a classifier of this run, which may guide or is judged"
            f" itself, and no witness; {ELSE.removeprefix('or ')}"
        )
    if dry:
        return
    from fgds_core.classify.network import load_classifier

    try:  # a classifier is small, and only its network tells whether the weights are its own
        load_classifier(Path(config.path))
    except InputError as error:
        raise InputError(f"judge.path: {error}; {ELSE}") from error


def check_classes(wanted: str | Sequence[str], names: Sequence[str] | None) -> None:
    """Refuses to let a generator learn classes that the data do not have.

    Args:
        wanted: `adapt.classes`; a word for several is no name.
        names: The data's classes; None where they are not known yet.

    Raises:
        InputError: Names the first.
    """
    if isinstance(wanted, str):
        return
    strange = [name for name in wanted if names is not None and name not in names]
    if strange:
        raise InputError(
            f"adapt.classes: the data have no class {strange[0]!r}; they have"
            f" {listed(names or ())}"
        )


def check_features(assess: AssessConfig, generator: GeneratorConfig) -> None:
    """Checks that the feature space of the quality measures is there.

    Raises:
        InputError: Its weights are missing or damaged.
    """
    if assess.inception_weights is not None:
        check_inception(assess.inception_weights)
    elif assess.features == "clip":
        check_tower(generator)


def prepared_names() -> tuple[str, ...] | None:
    """The classes of the prepared data; None where there are none that can be read."""
    try:
        return read_meta(FIRST.prepared).class_names
    except InputError:
        return None
