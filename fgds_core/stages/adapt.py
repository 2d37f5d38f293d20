"""Adapting the generator: it learns classes from their real training images before it draws."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from fgds_core.ability.words import unknown_names
from fgds_core.adapt.adaptation import Adaptation
from fgds_core.adapt.apply import save_adapter
from fgds_core.adapt.config import AdaptConfig
from fgds_core.adapt.examples import Encoder, captions, split
from fgds_core.adapt.fit import Schedule, fit
from fgds_core.adapt.losses import Lesson
from fgds_core.adapt.methods import METHODS
from fgds_core.adapt.record import AdapterRecord, Fitted
from fgds_core.adapt.words import add_words, begin_words, nameless
from fgds_core.classify.checkpoint import Checkpoint
from fgds_core.data.splits import read_prepared
from fgds_core.errors import InputError
from fgds_core.generators.config import GeneratorConfig
from fgds_core.generators.load import load_generator
from fgds_core.generators.tokenizers import load_tokenizers


@dataclass(frozen=True)
class Checkpoints:
    """Where the two trainings stand; None keeps nothing of one."""

    denoiser: Checkpoint | None = None
    decoder: Checkpoint | None = None


AFRESH = Checkpoints()


@dataclass(frozen=True, eq=False)
class Course:
    """An adaptation that is ready to begin.

    Attributes:
        lesson: What is learnt, and how it is told.
        words: Names that are words of the text encoder now.
        learnt: Places of the images that are learnt from.
        held: Of those held out.
    """

    lesson: Lesson
    words: tuple[str, ...]
    learnt: list[int]
    held: list[int]


def adapt(
    what: Adaptation,
    prepared: Path,
    out: Path,
    *,
    device: str | torch.device = "cpu",
    advance: Callable[[int], None] = lambda steps: None,
    checkpoints: Checkpoints = AFRESH,
    heard: Callable[[str], None] = lambda text: None,
) -> AdapterRecord:
    """Learns and writes the adapter.

    Args:
        what: What is to be learnt.
        prepared: Folder of the prepared data; training images are read alone.
        out: Gets the adapter.
        device: Where it computes.
        advance: Called with the optimiser steps done since the last call.
        checkpoints: Where it goes on if it is stopped.
        heard: Is told what goes on.

    Raises:
        InputError: There is nothing to learn from, or the loss is no number.
    """
    config = what.config
    course = begin(what, prepared, device, heard=heard)
    lesson, learnt, held = course.lesson, course.learnt, course.held
    heard(
        f"learning {len(what.classes):,} classes from {len(learnt):,} training images;"
        f" {len(held):,} are held out"
    )
    parameters = _parameters(course, config, what.seed)
    denoiser = fit(
        parameters,
        lambda step: lesson.step(step, learnt),
        (lambda: lesson.held_out(held)) if held else None,
        Schedule(config.num_steps, config.learning_rate, config.eval_every, config.patience),
        checkpoint=checkpoints.denoiser,
        advance=advance,
    )
    decoder = None
    if config.decoder_steps:
        heard("learning to decode the latents of these images")
        decoder = _decoder(course, config, checkpoints.decoder, advance)
    remarks = () if held else ("no class has enough images to hold some out: it learnt all steps",)
    record = AdapterRecord(
        enabled=True,
        classes=what.classes,
        words=course.words,
        method=config.method,
        generator=what.generator.path,
        made_by=what.made_by,
        num_learnt=len(learnt),
        num_held_out=len(held),
        denoiser=denoiser,
        decoder=decoder,
        remarks=remarks,
    )
    save_adapter(out, lesson.generator, record)
    return record


def seconds_a_step(
    what: Adaptation, prepared: Path, device: str | torch.device, steps: int = 3
) -> float:
    """How long a step takes, measured by a few that nothing keeps.

    Args:
        what: What is to be learnt.
        prepared: Folder of the prepared data.
        device: Where.
        steps: How many are measured, after one that is not.
    """
    course = begin(what, prepared, device, most=what.config.batch_size)
    parameters = _parameters(course, what.config, what.seed)
    schedule = Schedule(steps + 1, what.config.learning_rate, steps + 2, 1)
    times: list[float] = []
    fit(
        parameters,
        lambda step: course.lesson.step(step, course.learnt),
        None,
        schedule,
        advance=lambda _: times.append(time.perf_counter()),
    )
    return (times[steps] - times[0]) / steps


def begin(
    what: Adaptation,
    prepared: Path,
    device: str | torch.device,
    *,
    most: int | None = None,
    heard: Callable[[str], None] = lambda text: None,
) -> Course:
    """Loads the generator and opens the images.

    Args:
        what: What is to be learnt.
        prepared: Folder of the prepared data.
        device: Where it computes.
        most: Images at most; None is all.
        heard: Is told what goes on.

    Raises:
        InputError: The classes have no training images, or an input cannot be read.
    """
    config = what.config
    train = read_prepared(prepared, "train")
    wanted = [train.class_names.index(name) for name in what.classes]
    rows = torch.nonzero(torch.isin(train.labels, torch.tensor(wanted))).flatten().tolist()
    rows = rows[:most]
    if not rows:
        raise InputError("adapt.classes: these classes have no training images to learn from")
    images = train.select(rows)
    labels = images.labels.tolist()
    heard(f"loading the generator {what.generator.path} on {device}")
    generator = load_generator(what.generator, device, torch.float32)
    words: tuple[str, ...] = ()
    if what.told.conditioning != "image":
        words = tuple(new_words(what.generator, what.classes))
    add_words(generator.pipeline, words)
    learnt, held = split(labels, config.held_out, what.seed)
    encoder = Encoder(generator, images, config.batch_size, heard)
    counts = torch.bincount(torch.tensor(labels)).double()
    groups = images.groups or (None,) * len(labels)
    lesson = Lesson(
        generator,
        encoder,
        [
            captions(what.generator.prompts, train.class_names[label], group)
            for label, group in zip(labels, groups, strict=True)
        ],
        counts[labels] ** -0.5,  # rare classes more often than they are, frequent ones still most
        what.told,
        what.seed,
        config.batch_size,
        bool(words),
    )
    return Course(lesson, words, learnt, held)


def new_words(generator: GeneratorConfig, classes: Sequence[str]) -> list[str]:
    """The names of classes that the generator's text encoders do not know.

    Args:
        generator: The generator and its prompts.
        classes: Their names.
    """
    prompts = generator.prompts
    spoken = list(dict.fromkeys(name.replace("_", " ") for name in classes))
    said = [captions(prompts[:1], name, None)[0] for name in spoken]
    found = unknown_names(load_tokenizers(generator), spoken, said)
    return nameless(spoken, [spoken[place] for place in found], prompts)


def _parameters(course: Course, config: AdaptConfig, seed: int) -> list[nn.Parameter]:
    """What learns of denoiser and text encoders."""
    generator = course.lesson.generator
    generator.network.train()
    own = METHODS[config.method].begin(generator.network, config.rank, seed)
    return [*own, *begin_words(generator.pipeline, course.words)]


def _decoder(
    course: Course,
    config: AdaptConfig,
    checkpoint: Checkpoint | None,
    advance: Callable[[int], None],
) -> Fitted:
    """Lets the decoder learn to show the images; what encodes stays as it is."""
    lesson, vae = course.lesson, course.lesson.generator.decoder
    parts = [vae.decoder, getattr(vae, "post_quant_conv", None)]
    parameters = [
        p.requires_grad_() for part in parts if part is not None for p in part.parameters()
    ]
    schedule = Schedule(
        config.decoder_steps, config.learning_rate, config.eval_every, config.patience
    )
    return fit(
        parameters,
        lambda step: lesson.shown(step, course.learnt),
        (lambda: lesson.held_out_shown(course.held)) if course.held else None,
        schedule,
        checkpoint=checkpoint,
        advance=advance,
    )
