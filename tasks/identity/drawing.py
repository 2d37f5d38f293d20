"""What decides the images of a synthetic set, and the fingerprints made of it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fgds_core.adapt.recipe import AdaptedRecipe, adapts
from fgds_core.data.meta import read_meta
from fgds_core.data.splits import class_digests
from fgds_core.diffusion.guidance.rules import RULES
from fgds_core.errors import InputError
from fgds_core.feedback.criterion import Needs
from fgds_core.feedback.load import read_by
from fgds_core.feedback.registry import CRITERIA, needs_of
from fgds_core.generators.family import KINDS
from fgds_core.synthesis.config import SynthesizeConfig
from fgds_core.synthesis.embeddings import MIXTURES, load_mixture
from fgds_core.synthesis.recipe import Recipe
from fgds_core.synthesis.strength import factors
from tasks.identity import code
from tasks.identity.cache import content_digests
from tasks.identity.generator import generator_digests
from tasks.workspace import Workspace

NO_EFFECT = {
    "target_per_class",
    "target_per_group",
    "min_per_class",
    "images_per_part",
    "rounds",
    "round_quotas",
    "exclude",
    "copies",
    "copies_by",
    "guide",
    "check_images",
    "cannot_draw",
    "unguided_twins",
}
"""Parameters that say how many images there are, how they are packed, in which rounds they are
drawn, which are left out, whose classifier guides (what it is counts itself), whether they are
drawn at all and what is drawn beside them, not what they show."""

OF_SOME_CRITERIA = frozenset({"feedback_exemplars", "feedback_mix"})
"""Parameters that count only with a criterion that reads them."""

DRAWING = "fgds_core.synthesis.part"
"""The module whose imports are the code that draws, whatever the parameters."""

NO_PIXEL = frozenset(
    {
        "fgds_core",
        "fgds_core.errors",
        "fgds_core.files",
        "fgds_core.section",
        "fgds_core.diffusion.trial",
        "fgds_core.generators.config",
        "fgds_core.generators.known",
        "fgds_core.synthesis.config",
        "fgds_core.synthesis.plan",
        "fgds_core.synthesis.strength",
    }
)
"""Modules that drawing imports and that can change no pixel, left out with what only they import:
the version, errors, how a file reaches its place whole, the trial of a solver, the table of known
generators, which images there shall be, and what the parameters may be and feedback's factor in a
class (what they are is in a fingerprint)."""

AUGMENTATION = "fgds_core.images.augment"
"""The random changes of images, which draw nothing unless guidance sees images under them."""


def drawing_code(recipe: Recipe, root: Path = code.ROOT) -> str:
    """Digest of the code that draws: what is common, and what of the registries was chosen.

    Args:
        recipe: Names the family, and criterion and rule of the feedback and the mixture of
            embeddings, if there are any.
        root: The folder that holds our packages.
    """
    config, without = recipe.synthesize, NO_PIXEL
    chosen = [KINDS[recipe.generator.kind]]
    if is_guided(config):
        chosen += [CRITERIA[config.feedback], RULES[config.feedback_rule]]
    if config.embedding_mix != "none":
        chosen.append(MIXTURES[config.embedding_mix])
    if not (is_guided(config) and config.feedback_augment):
        without |= {AUGMENTATION}
    return code.digest(DRAWING, *chosen, registered=False, without=without, root=root)


ADAPTING = "fgds_core.adapt.apply"
"""The module whose imports are the code that puts what was learnt into a generator."""

ADAPTER = "adapter"
"""What names the adapter in what decides the images of a set, and the classes drawn with it."""


code.digest(DRAWING, *CRITERIA.values())  # read now, so that it is what this process imports


def is_guided(config: SynthesizeConfig) -> bool:
    """Whether a classifier guides."""
    return config.feedback != "none" and config.feedback_scale > 0


def guides(config: SynthesizeConfig, workspace: Workspace) -> tuple[Path, ...]:
    """The folders of the classifiers that drawing loads; the baseline's where none guides."""
    return workspace.guides(config.guide if is_guided(config) else "baseline")


def _needs(config: SynthesizeConfig) -> Needs:
    """What the criterion needs that guides; nothing without one."""
    return needs_of(config.feedback) if is_guided(config) else Needs()


def drawing_parameters(config: SynthesizeConfig) -> dict[str, Any]:
    """The parameters of the section `synthesize` that can change an image, as JSON values.

    What has its declared default is left out, so that a new parameter redraws nothing; for the
    same reason the default of a parameter that images were drawn with must never change. Without
    feedback nothing of it counts, and without a mixture no share. The size of a part does where
    its images are valued together.
    """
    needs = _needs(config)
    exclude = NO_EFFECT | {"feedback_factors"} | (OF_SOME_CRITERIA - needs.parameters)
    if needs.together:
        exclude -= {"images_per_part"}
    if not is_guided(config):
        exclude |= {name for name in type(config).model_fields if name.startswith("feedback")}
    if config.embedding_mix == "none":
        exclude.add("embedding_mix_share")
    return config.model_dump(mode="json", exclude=exclude, exclude_defaults=True)


def input_digests(recipe: Recipe, workspace: Workspace) -> dict[str, str]:
    """Content digests of all that drawing reads, as it lies in the workspace now.

    Raises:
        InputError: An input is missing.
    """
    its_guides = guides(recipe.synthesize, workspace)
    for guide in its_guides:
        if not guide.exists():
            raise InputError(
                f"{guide}, which guides, is missing; make it with `{workspace.makes(guide)}`, or"
                " with `dvc repro`, which runs the earlier stages first"
            )
    made_here = content_digests(workspace.prepared, *its_guides)
    if isinstance(recipe, AdaptedRecipe):
        made_here |= adapter_digest(workspace)
    return made_here | generator_digests(recipe.generator)


def adapter_digest(workspace: Workspace) -> dict[str, str]:
    """Content digest of the adapter; of one that is still to be made there is no digest."""
    place = workspace.adapter
    return content_digests(place) if place.is_dir() else {place.as_posix(): "to be made"}


def made_by(recipe: Recipe, inputs: Mapping[str, str], workspace: Workspace) -> dict[str, Any]:
    """Everything that decides what the synthetic images show, for their fingerprints.

    A classifier counts only if it guides, and only what guidance reads of it. Of the real images
    those of the training split count, only where they condition or the criterion knows them, and
    each for its own class unless embeddings are mixed across classes; how many each class has
    counts where their prior is taken out of the guide.

    Args:
        recipe: How the images are drawn.
        inputs: From `input_digests`.
        workspace: Where prepared data and classifiers are.
    """
    config, prepared = recipe.synthesize, workspace.prepared
    its_guides = guides(config, workspace)
    made_here = [path.as_posix() for path in (prepared, workspace.adapter, *its_guides)]
    read = (
        [read_by(config, guide, prepared) for guide in its_guides] if is_guided(config) else [None]
    )
    parameters, drawn_by = drawing_parameters(config), drawing_code(recipe)
    meta = read_meta(prepared)
    knows_real = config.conditioning != "text" or _needs(config).real
    real = class_digests(prepared, "train") if knows_real else {}
    decides = {
        "generator": recipe.generator.model_dump(mode="json", exclude_defaults=True),
        "synthesize": parameters,
        "seed": recipe.seed,
        "inputs": {path: inputs[path] for path in inputs if path not in made_here},
        "guide": read[0] if len(read) == 1 else read,
        "image_size": meta.image_size,
        "encoding": asdict(meta.encoding),
        "real": real,
        "code": drawn_by,
    }
    own = dict(zip(meta.class_names, factors(config, meta.counts["train"]), strict=True))
    if is_guided(config) and (changed := {name: own[name] for name in own if own[name] != 1}):
        decides["feedback_factors"] = changed
    if is_guided(config) and config.feedback_tau:
        decides["real_counts"] = meta.counts["train"]
    if config.target_per_group is not None:  # which group an image is drawn for
        decides["cells"] = dict(zip(meta.class_names, meta.cells or (), strict=False))
    if config.embedding_mix != "none" and load_mixture(config.embedding_mix).of_others:
        decides["donors"] = meta.content_sha256["train"]  # images of other classes
    if isinstance(recipe, AdaptedRecipe):
        decides[ADAPTER] = {
            "classes": [name for name in meta.class_names if adapts(recipe, name)],
            "learnt": inputs[workspace.adapter.as_posix()],
            "code": code.digest(ADAPTING, registered=False, without=NO_PIXEL),
        }
    return decides


RESAMPLED = "resampled"
"""What names the classes of a set that real images fill, with the digest of these."""


def fingerprint(made_by: Mapping[str, Any]) -> str:
    """sha256 of what decides the images of the whole set."""
    return hashlib.sha256(json.dumps(made_by, sort_keys=True).encode()).hexdigest()


def part_fingerprint(made_by: Mapping[str, Any], label: int, class_names: Sequence[str]) -> str:
    """sha256 of what decides the parts of one class, whatever the others' real images are."""
    name = class_names[label]
    if name in (filled := made_by.get(RESAMPLED, {})):
        own = {"label": label, "class_names": list(class_names), RESAMPLED: filled[name]}
        keys = ("seed", "image_size", "encoding")
        return fingerprint({**own, **{key: made_by[key] for key in keys}})
    own = {"real": made_by["real"].get(name), "label": label, "class_names": list(class_names)}
    if "cells" in made_by:
        own["cells"] = made_by["cells"].get(name)
    some = ("feedback_factors", RESAMPLED, ADAPTER)
    of_all = {key: made_by[key] for key in made_by if key not in some}
    if name in (changed := made_by.get("feedback_factors", {})):
        own["feedback_factors"] = changed[name]
    adapter = made_by.get(ADAPTER, {"classes": []})
    if name in adapter["classes"]:
        own[ADAPTER] = {key: adapter[key] for key in ("learnt", "code")}
    return fingerprint({**of_all, **own})
