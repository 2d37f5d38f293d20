"""What an edit repeats: for each kind of edit the stages asked again and the parts drawn again.

A part is drawn again where its pixels may change, and nowhere else.
"""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import tiny
from micro import ROOT, generator_config, random_images, synthesize_config

from fgds_core.diffusion.guidance.rules import RULES
from fgds_core.feedback.registry import CRITERIA
from fgds_core.generators.config import AdapterConfig, GeneratorConfig, PriorConfig
from fgds_core.generators.family import KINDS
from fgds_core.images.table import image_table, write_images
from fgds_core.synthesis.config import FeedbackFactors, SynthesizeConfig
from fgds_core.synthesis.embeddings import MIXTURES
from fgds_core.synthesis.recipe import Recipe
from flows.synth_pipeline import STAGES
from tasks.identity import code
from tasks.identity.drawing import (
    DRAWING,
    NO_PIXEL,
    drawing_code,
    drawing_parameters,
)


class Drawn(NamedTuple):
    """One way to draw images."""

    kind: str
    criterion: str
    """`none` without feedback."""
    rule: str
    augment: bool = False
    """Whether guidance sees images under random changes."""
    mix: str = "none"
    """What embeddings are mixed with."""


ALL = frozenset(
    [Drawn(kind, "entropy", "relative") for kind in KINDS]
    + [Drawn("stable-unclip", criterion, "score") for criterion in (*CRITERIA, "none")]
    + [Drawn("stable-unclip", criterion, "score", augment=True) for criterion in ("loss", "none")]
    + [Drawn("stable-unclip", "none", "relative", mix=mix) for mix in MIXTURES]
)
NONE: frozenset[Drawn] = frozenset()


def kinds(*names: str) -> frozenset[Drawn]:
    return frozenset(each for each in ALL if each.kind in names)


def criterion(name: str) -> frozenset[Drawn]:
    return frozenset(each for each in ALL if each.criterion == name)


def rule(name: str) -> frozenset[Drawn]:
    return frozenset(each for each in ALL if each.rule == name and each.criterion != "none")


@dataclass(frozen=True)
class Edit:
    """An edit: lines at the end of files, other text within them, or new files."""

    stages: str
    """Those asked again, with a space between their names."""
    redrawn: frozenset[Drawn]
    file: str = ""
    """Gets a statement at its end."""
    texts: dict[str, tuple[str, str]] = field(default_factory=dict)
    """File -> the text that is replaced there and the new one."""
    new: str = ""
    """A new file, with one statement."""


def registered(file: str, entry: str, new: str, stages: str, more: Any = None) -> Edit:
    """A new module, and the line of the registry that names it.

    Args:
        file: The registry's.
        entry: The first line of the registry.
        new: The new module's file.
        stages: See `Edit`.
        more: Further texts.
    """
    line = f'{entry}\n    "new": "{new.removesuffix(".py").replace("/", ".")}",'
    return Edit(stages, NONE, texts={file: (entry, line), **(more or {})}, new=new)


# Adapt draws too: what the generator check looks at, to say what is to be learnt
EVERY = " ".join(STAGES)
TRAINED = "judge train_baseline train_control synthesize retrain"
"""Those that train a classifier: synthesize may, between rounds."""

EDITS = {
    # Nothing is drawn again
    "an option of a metric": Edit("assess report", NONE, file="fgds_core/assess/config.py"),
    "a metric": Edit("assess", NONE, file="fgds_core/assess/fidelity.py"),
    "a judge": Edit("judge adapt synthesize assess", NONE, file="fgds_core/judge/clip.py"),
    "what a judge is calibrated by": Edit("judge", NONE, file="fgds_core/judge/calibrate.py"),
    "metrics of a classifier": Edit(TRAINED, NONE, file="fgds_core/classify/metrics.py"),
    "the report": Edit("report", NONE, file="fgds_core/report/page.py"),
    "the report's template": Edit("report", NONE, file="fgds_core/report/page.html.j2"),
    "a parameter of drawing": Edit(
        "adapt synthesize assess retrain report",
        NONE,
        texts={
            "fgds_core/synthesis/config.py": (
                "    feedback_augment: bool",
                "    feedback_margin: float = 0.0\n    feedback_augment: bool",
            )
        },
    ),
    "the declared parameters of the generator": Edit(
        "judge adapt synthesize assess report", NONE, file="fgds_core/generators/config.py"
    ),
    "a kind of generators": registered(
        "fgds_core/generators/family.py",
        "KINDS = {",
        "fgds_core/generators/new.py",
        "judge adapt synthesize assess report",
        {
            "fgds_core/generators/config.py": (
                "    kind: Literal[\n",
                '    kind: Literal[\n        "new",\n',
            )
        },
    ),
    "a criterion": registered(
        "fgds_core/feedback/registry.py",
        "CRITERIA = {",
        "fgds_core/feedback/criteria/new.py",
        "adapt synthesize",
    ),
    "a rule": registered(
        "fgds_core/diffusion/guidance/rules/__init__.py",
        "RULES = {",
        "fgds_core/diffusion/guidance/rules/new.py",
        "adapt synthesize",
    ),
    "a mixture of embeddings": registered(
        "fgds_core/synthesis/embeddings/__init__.py",
        "MIXTURES = {",
        "fgds_core/synthesis/embeddings/new.py",
        "adapt synthesize",
    ),
    "a data source": registered(
        "fgds_core/data/sources/__init__.py",
        "SOURCES = {",
        "fgds_core/data/sources/new.py",
        "prepare",
    ),
    "a loss": Edit(TRAINED, NONE, file="fgds_core/classify/losses/cross_entropy.py"),
    "a way of mixing": Edit(TRAINED, NONE, file="fgds_core/classify/mixing.py"),
    "how images are changed at rest": Edit(TRAINED, NONE, file="fgds_core/classify/transforms.py"),
    "the training batches": Edit(TRAINED, NONE, file="fgds_core/classify/batches.py"),
    "the training": Edit(TRAINED, NONE, file="fgds_core/classify/train.py"),
    "how a classifier is saved": Edit(TRAINED, NONE, file="fgds_core/classify/save.py"),
    "what training measures for feedback": Edit(
        "train_baseline synthesize", NONE, file="fgds_core/feedback/targets.py"
    ),
    "the fit of the classes' Gaussians": Edit(TRAINED, NONE, file="fgds_core/feedback/fit.py"),
    "how batches are read ahead": Edit(
        "judge train_baseline train_control adapt synthesize assess retrain",
        NONE,
        file="fgds_core/images/loader.py",
    ),
    "what a classifier says of a set": Edit(TRAINED, NONE, file="fgds_core/classify/predict.py"),
    "how a set is read": Edit(
        "adapt synthesize assess retrain", NONE, file="fgds_core/synthesis/shards.py"
    ),
    "how parts get another label": Edit(
        "adapt synthesize", NONE, file="fgds_core/synthesis/relabel.py"
    ),
    "which images there shall be": Edit(
        "adapt synthesize", NONE, file="fgds_core/synthesis/plan.py"
    ),
    "feedback's factor in a class": Edit(
        "adapt synthesize", NONE, file="fgds_core/synthesis/strength.py"
    ),
    "the card of the set": Edit("synthesize", NONE, file="fgds_core/synthesis/card.py"),
    "the trial of a solver": Edit("adapt synthesize", NONE, file="fgds_core/diffusion/trial.py"),
    "how raw data become prepared ones": Edit("prepare", NONE, file="fgds_core/data/prepare.py"),
    "how files reach their place": Edit(EVERY, NONE, file="fgds_core/files.py"),
    "the version": Edit(EVERY, NONE, file="fgds_core/__init__.py"),
    "what sections have to agree on": Edit(
        "", NONE, texts={"fgds_core/agreement.py": ("takes text alone", "takes no image")}
    ),
    "what an error of drawing says": Edit(
        "adapt synthesize",
        NONE,
        texts={"fgds_core/synthesis/part.py": ("has no real training image", "lacks images")},
    ),
    "how workers are told": Edit("", NONE, file="tasks/workers/fanout.py"),
    "how a generator learns": Edit("adapt", NONE, file="fgds_core/adapt/losses.py"),
    "what was learnt, put into a generator": Edit(
        "adapt synthesize", NONE, file="fgds_core/adapt/apply.py"
    ),
    # What is made by it is drawn again
    "a family of generators": Edit(
        "adapt synthesize",
        kinds("stable-diffusion-3"),
        file="fgds_core/generators/stable_diffusion_3.py",
    ),
    "a family that another one is made of": Edit(
        "adapt synthesize",
        kinds("text-to-image", "ip-adapter"),
        file="fgds_core/generators/text_to_image.py",
    ),
    "what two families share": Edit(
        "adapt synthesize",
        kinds("stable-unclip", "text-to-image", "ip-adapter"),
        file="fgds_core/generators/stable_diffusion.py",
    ),
    "one criterion": Edit(
        "train_baseline adapt synthesize assess",
        criterion("entropy") | criterion("exemplar_entropy"),
        file="fgds_core/feedback/criteria/entropy.py",
    ),
    "how exemplars are chosen": Edit(
        "adapt synthesize",
        frozenset(each for each in ALL if each.criterion.startswith("exemplar")),
        file="fgds_core/feedback/exemplars.py",
    ),
    "what influence compares with": Edit(
        "adapt synthesize", criterion("influence"), file="fgds_core/feedback/validation.py"
    ),
    "one rule": Edit(
        "adapt synthesize", rule("score"), file="fgds_core/diffusion/guidance/rules/score.py"
    ),
    "one mixture of embeddings": Edit(
        "adapt synthesize",
        frozenset([Drawn("stable-unclip", "none", "relative", mix="transfer")]),
        file="fgds_core/synthesis/embeddings/transfer.py",
    ),
    "random changes of images": Edit(
        "judge train_baseline train_control adapt synthesize retrain",
        frozenset([Drawn("stable-unclip", "loss", "score", augment=True)]),
        file="fgds_core/images/augment.py",
    ),
    # All is drawn again
    **{
        f"drawing itself, and learning to: {file}": Edit(
            "adapt synthesize", ALL, file=f"fgds_core/{file}"
        )
        for file in (
            "diffusion/denoise.py",
            "diffusion/noise.py",
            "diffusion/solver.py",
            "generators/load.py",
            "generators/model.py",
        )
    },
    **{
        f"drawing itself: {file}": Edit("adapt synthesize", ALL, file=f"fgds_core/{file}")
        for file in (
            "diffusion/guidance/gradient.py",
            "diffusion/guidance/look.py",
            "diffusion/guidance/together.py",
            "diffusion/sample.py",
            "feedback/load.py",
            "synthesis/condition.py",
            "synthesis/draw.py",
            "synthesis/embeddings/pool.py",
            "synthesis/part.py",
            "synthesis/request.py",
        )
    },
    "how a part is written": Edit(
        "adapt synthesize assess retrain", ALL, file="fgds_core/synthesis/record.py"
    ),
    "how an image is encoded": Edit(
        "prepare judge train_baseline train_control adapt synthesize assess retrain",
        ALL,
        file="fgds_core/images/pixels.py",
    ),
    "how the images that condition are read": Edit(
        "judge train_baseline train_control adapt synthesize assess retrain",
        ALL,
        file="fgds_core/images/dataset.py",
    ),
    "the network that guides": Edit(
        "judge train_baseline train_control adapt synthesize assess retrain",
        ALL,
        file="fgds_core/classify/network.py",
    ),
    "how guidance sees an image": Edit(
        "adapt synthesize", ALL, file="fgds_core/feedback/critic.py"
    ),
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of our packages."""
    folder = tmp_path_factory.mktemp("sources")
    copy_into(folder, ROOT)
    return folder


def copy_into(folder: Path, root: Path) -> None:
    for package in code.PACKAGES:
        for file in sorted((root / package).rglob("*")):
            if file.is_file() and file.suffix != ".pyc":
                there = folder / file.relative_to(root)
                there.parent.mkdir(parents=True, exist_ok=True)
                os.link(file, there) if root != ROOT else there.write_bytes(file.read_bytes())


def rewrite(file: Path, change: Callable[[str], str]) -> None:
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    file.unlink(missing_ok=True)  # it may be a link
    file.write_text(change(text), encoding="utf-8")


def asked(root: Path) -> dict[str, str]:
    """The code of each stage, as the keys of its tasks know it."""
    return {stage: code.digest(f"flows.{stage}", root=root) for stage in STAGES}


def drawn(root: Path) -> dict[Drawn, str]:
    """The code of each way to draw, as the fingerprints of parts know it."""
    adapter = AdapterConfig(
        path="there",
        revision=None,
        subfolder="models",
        weight_name="some.safetensors",
        image_encoder="encoder",
        scale=1.0,
    )
    prior = PriorConfig(
        path="there", revision=None, num_inference_steps=25, guidance_scale=4.0, text_share=0.5
    )
    found = {}
    for each in ALL:
        beside = {"ip-adapter": {"adapter": adapter}, "kandinsky-2.2": {"prior": prior}}
        generator = generator_config("there", kind=each.kind, **beside.get(each.kind, {}))
        config = synthesize_config(
            feedback=each.criterion,
            feedback_rule=each.rule,
            feedback_augment=each.augment,
            embedding_mix=each.mix,
        )
        found[each] = drawing_code(Recipe(generator, config, 0), root)
    return found


def other(before: dict[Any, str], after: dict[Any, str]) -> frozenset[Any]:
    return frozenset(key for key in before if before[key] != after[key])


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_repeats_what_it_can_change(name: str, sources: Path, tmp_path: Path) -> None:
    edit = EDITS[name]
    copy_into(tmp_path, sources)
    if edit.file:
        assert (tmp_path / edit.file).is_file()
        rewrite(tmp_path / edit.file, lambda text: f"{text}\nEDITED = True\n")
    for file, (before, after) in edit.texts.items():
        assert (tmp_path / file).read_text(encoding="utf-8").count(before) == 1
        rewrite(tmp_path / file, lambda text, b=before, a=after: text.replace(b, a))
    if edit.new:
        assert not (tmp_path / edit.new).exists()
        rewrite(tmp_path / edit.new, lambda _: "EDITED = True\n")
    again = other(asked(sources), asked(tmp_path))
    assert [stage for stage in STAGES if stage in again] == edit.stages.split()
    assert other(drawn(sources), drawn(tmp_path)) == edit.redrawn


def test_comments_and_docstrings_repeat_nothing(sources: Path, tmp_path: Path) -> None:
    copy_into(tmp_path, sources)
    for file in tmp_path.rglob("*.py"):
        rewrite(file, lambda text: f'{text}\n# A comment\n\n"""A docstring."""\n')
    assert asked(tmp_path) == asked(sources)
    assert drawn(tmp_path) == drawn(sources)


@pytest.mark.parametrize("name", EDITS)
def test_dvc_asks_the_same_stages(name: str) -> None:
    edit = EDITS[name]
    files = {edit.file, *edit.texts} - {""}
    depend = [stage for stage in STAGES if files & set(code.closure(f"flows.{stage}"))]
    assert depend == edit.stages.split()


def test_a_configuration_declares_and_does_nothing() -> None:
    """Else an edit there could change a pixel and redraw nothing."""
    for module in ("fgds_core.generators.config", "fgds_core.synthesis.config"):
        assert module in NO_PIXEL
        tree = ast.parse(Path(ROOT, *module.split(".")).with_suffix(".py").read_text())
        for node in tree.body:
            assert isinstance(node, ast.Import | ast.ImportFrom | ast.ClassDef | ast.Expr)
            for inner in ast.walk(node):
                if isinstance(inner, ast.FunctionDef):
                    decorators = ast.unparse(ast.Tuple(inner.decorator_list))
                    assert "validator" in decorators, f"{module}: {inner.name} is no validator"


DEFAULTS: dict[str, Any] = {
    "SynthesizeConfig.target_per_group": None,
    "SynthesizeConfig.rounds": 1,
    "SynthesizeConfig.round_quotas": "by_error",
    "GeneratorConfig.prior": None,
    "SynthesizeConfig.exclude": [],
    "SynthesizeConfig.copies": "redraw",
    "SynthesizeConfig.copies_by": ["picture", "part"],
    "SynthesizeConfig.check_images": 20,
    "SynthesizeConfig.cannot_draw": "refuse",
    "SynthesizeConfig.unguided_twins": 2,
    "SynthesizeConfig.feedback_factors": FeedbackFactors(many=1, medium=1, few=1),
    "SynthesizeConfig.guide": "baseline",
    "SynthesizeConfig.feedback_tau": 0.0,
    "SynthesizeConfig.embedding_mix": "none",
    "SynthesizeConfig.embedding_mix_share": 0.5,
    "SynthesizeConfig.feedback_exemplars": 32,
    "SynthesizeConfig.feedback_mix": 0.3,
}
"""The declared defaults of what decides an image. One that changes would leave images of the old
one under the new parameters: name a new parameter instead."""


def test_a_default_of_what_is_drawn_never_changes() -> None:
    declared = {
        f"{model.__name__}.{name}": its.get_default(call_default_factory=True)
        for model in (AdapterConfig, PriorConfig, GeneratorConfig, SynthesizeConfig)
        for name, its in model.model_fields.items()
        if not its.is_required()
    }
    assert declared == DEFAULTS


def test_a_new_parameter_redraws_nothing_until_it_is_set() -> None:
    class Later(SynthesizeConfig):
        """A version that has learnt something."""

        feedback_margin: float = 0.0

    before = synthesize_config()
    values = before.model_dump()
    assert drawing_parameters(Later(**values)) == drawing_parameters(before)
    changed = drawing_parameters(Later(**values, feedback_margin=0.5))
    assert changed == {**drawing_parameters(before), "feedback_margin": 0.5}


DRAW = """
import json, os, sys
from pathlib import Path

import diffusers, torch, transformers  # before the fork, for they take their time


def draw(settings, folder):
    from fgds_core.feedback.load import load_feedback
    from fgds_core.classify.network import load_classifier
    from fgds_core.generators.config import GeneratorConfig
    from fgds_core.generators.load import load_generator
    from fgds_core.images.dataset import read_images
    from fgds_core.synthesis.config import SynthesizeConfig
    from fgds_core.synthesis.models import LoadedModels
    from fgds_core.synthesis.part import write_part
    from fgds_core.synthesis.plan import Part
    from fgds_core.synthesis.recipe import Recipe

    generator = GeneratorConfig.model_validate(settings["generator"])
    config = SynthesizeConfig.model_validate(settings["synthesize"])
    classifier = load_classifier(Path(settings["classifier"]))
    feedback = load_feedback(config, [Path(settings["classifier"])], [classifier], [1, 1, 1])
    models = LoadedModels(load_generator(generator), feedback, read_images(Path(folder, "real")))
    part = Part(0, "cat", 0, 0, 1)
    write_part(part, Recipe(generator, config, 0), models, "f", Path(folder), batch_size=1)


folder, *every = sys.argv[1:]
for settings in map(json.loads, every):
    if not os.fork():
        draw(settings, folder)
        print(*(name for name in sys.modules if name.startswith("fgds_core")), flush=True)
        os._exit(0)
    assert os.wait()[1] == 0
"""


def test_drawing_imports_its_own_code_and_no_other_familys(
    tiny_unclip: Path, tiny_classifier: Path, tmp_path: Path
) -> None:
    names = ("cat", "dog", "owl")
    write_images(tmp_path / "real", image_table(random_images(3), (0, 1, 2), names))
    flow = tiny.save(tiny.stable_diffusion_3, tmp_path / "flow")
    solver = {"conditioning": "text", "scheduler": "DPMSolverMultistepScheduler"}
    every = [
        (Drawn("stable-unclip", "entropy", "relative"), tiny_unclip, {}),
        (Drawn("stable-diffusion-3", "hardness", "score"), flow, solver),
    ]
    settings = [
        {
            "generator": generator_config(path, kind=each.kind).model_dump(),
            "synthesize": synthesize_config(
                feedback=each.criterion, feedback_rule=each.rule, **changes
            ).model_dump(),
            "classifier": str(tiny_classifier),
        }
        for each, path, changes in every
    ]
    told = subprocess.run(
        [sys.executable, "-c", DRAW, str(tmp_path), *map(json.dumps, settings)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stderr
    for (each, *_), line in zip(every, told.stdout.splitlines(), strict=True):
        imported = set(line.split())
        chosen = (KINDS[each.kind], CRITERIA[each.criterion], RULES[each.rule])
        alternatives = {
            *KINDS.values(),
            *CRITERIA.values(),
            *RULES.values(),
            *MIXTURES.values(),
        }
        known = modules(code.closure(DRAWING, *chosen, registered=False))
        assert imported & alternatives == known & alternatives
        assert imported <= known


def modules(files: Sequence[str]) -> set[str]:
    """The names of the modules in these files."""
    dotted = (file.removesuffix(".py").replace("/", ".") for file in files)
    return {name.removesuffix(".__init__") for name in dotted}
