"""Each alternative that a name chooses has one registry; the parameters offer just its names."""

import ast
import inspect
import re
from collections import defaultdict
from collections.abc import Collection, Iterator
from importlib import import_module
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import diffusers
import pytest
import timm.optim
import torch
from micro import ROOT

from fgds_core.classify.card import ClassifierConfig
from fgds_core.classify.network import INTERPOLATIONS
from fgds_core.data.imbalance import BINS
from fgds_core.images.formats import Encoding
from flows.cli.params import SECTIONS, models_of, section_type

REGISTRIES = {
    "data.kind": "fgds_core.data.sources:SOURCES",
    "data.path_rewrite": "fgds_core.data.sources.rewrites:REWRITES",
    "data.imbalance.type": "fgds_core.data.imbalance:PROFILES",
    "prepare.interpolation": "fgds_core.data.pictures:INTERPOLATIONS",
    "train_baseline.loss": "fgds_core.classify.losses:LOSSES",
    "train_baseline.mix": "fgds_core.classify.mixing:MIXES",
    "train_baseline.sampling": "fgds_core.classify.batches:BATCH_SOURCES",
    "train_baseline.head": "fgds_core.classify.heads:HEADS",
    "train_baseline.tune": "fgds_core.classify.tuning:TUNES",
    "train_baseline.second_stage": "fgds_core.classify.phases:PHASES",
    "train_baseline.posthoc": "fgds_core.classify.posthoc:POSTHOC",
    "generator.kind": "fgds_core.generators.family:KINDS",
    "adapt.method": "fgds_core.adapt.methods:METHODS",
    "judge.kind": "fgds_core.judge.kinds:KINDS",
    "synthesize.embedding_mix": "fgds_core.synthesis.embeddings:MIXTURES",
    "synthesize.feedback": "fgds_core.feedback.registry:CRITERIA",
    "synthesize.feedback_rule": "fgds_core.diffusion.guidance.rules:RULES",
    "synthesize.feedback_decoder": "fgds_core.synthesis.draw:FEEDBACK_DECODERS",
    "synthesize.copies_by": "fgds_core.copies.search:WAYS",
    "assess.features": "fgds_core.assess.features:EXTRACTORS",
}
"""The registry of each parameter that chooses by name; `none` is no entry of one."""

LIBRARIES: dict[str, Collection[str]] = {
    "generator.dtype": [name for name, each in vars(torch).items() if type(each) is torch.dtype],
    "synthesize.scheduler": dir(diffusers),
    "train_baseline.precision": [
        name for name, each in vars(torch).items() if type(each) is torch.dtype
    ],
    "train_baseline.optimizer": timm.optim.list_optimizers(),
}
"""Where a library has the alternatives, of which the parameters offer some."""

IN_PLACE = {
    "data.split.by",
    "prepare.crop",
    "prepare.format",
    "prepare.overlaps",
    "prepare.near_duplicates",
    "adapt.classes",
    "synthesize.target_per_class",
    "synthesize.conditioning",
    "synthesize.guide",
    "synthesize.round_quotas",
    "synthesize.cannot_draw",
    "synthesize.copies",
    "synthesize.feedback_target",
    "compute.runner",
    "compute.attention",
}
"""Two or three ways of one function, which are told apart within it."""


def found(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def words(annotation: object) -> Iterator[str]:
    """The words that a value of some type may be."""
    if get_origin(annotation) is Literal:
        yield from map(str, get_args(annotation))
    elif not isinstance(annotation, type):
        inner = get_args(annotation)
        for each in inner[:1] if get_origin(annotation) is Annotated else inner:
            yield from words(each)


def offered() -> dict[str, set[str]]:
    """The words that each parameter offers."""
    choices: dict[str, set[str]] = defaultdict(set)
    pending = [
        (section, model)
        for section in SECTIONS
        for model in models_of(section_type(SECTIONS[section]))
    ]
    for path, model in pending:
        for name, field in model.model_fields.items():
            choices[f"{path}.{name}"].update(words(field.annotation))
            pending += [(f"{path}.{name}", nested) for nested in models_of(field.annotation)]
    return {path: names for path, names in choices.items() if names}


OFFERED = offered()


def test_every_choice_by_name_is_accounted_for() -> None:
    assert set(OFFERED) == {*REGISTRIES, *LIBRARIES, *IN_PLACE}


@pytest.mark.parametrize("path", REGISTRIES)
def test_the_parameters_offer_what_the_registry_has(path: str) -> None:
    assert OFFERED[path] - {"none"} == set(found(REGISTRIES[path]))


@pytest.mark.parametrize("path", LIBRARIES)
def test_the_library_has_what_the_parameters_offer(path: str) -> None:
    assert OFFERED[path] <= set(LIBRARIES[path])


def lazy() -> list[tuple[str, str]]:
    """The registries that name modules, which are loaded when they are chosen."""
    registries = []
    for path in sorted((ROOT / "fgds_core").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict):
                named = [getattr(value, "value", None) for value in node.value.values]
                if all(re.match(r"fgds_core(\.\w+)+", str(value)) for value in named):
                    target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                    registries.append((module, ast.unparse(target)))
    return registries


def test_what_repeats_the_names_of_others_repeats_them_all() -> None:
    stored = ClassifierConfig.model_fields
    assert set(words(stored["interpolation"].annotation)) == set(INTERPOLATIONS)
    assert set(words(stored["bins"].annotation)) == set(BINS)
    assert set(get_args(get_type_hints(Encoding)["format"])) == OFFERED["prepare.format"]


@pytest.mark.parametrize(("module", "registry"), lazy())
def test_what_a_registry_names_can_be_loaded(module: str, registry: str) -> None:
    home = import_module(module)
    (load,) = [
        function
        for name, function in inspect.getmembers(home, inspect.isfunction)
        if re.match("load_", name) and registry in function.__code__.co_names
    ]
    loaded = {name: load(name) for name in getattr(home, registry)}
    assert len({id(each) for each in loaded.values()}) == len(loaded)
