"""How far should feedback push? Criterion and accuracy over scale, on validation images alone.

    dvc repro prepare
    python -m benchmarks.feedback_study                # hours on 2 cores; resumes
    python -m benchmarks.feedback_study --studies entropy --seeds 0

Each study is a list of settings, each a set of changes to `params.yaml`. For a setting and a seed
the guide is trained, a synthetic set drawn, and a classifier retrained; the row holds its
validation accuracy (the test images are never opened), the judge's agreement, and per class the
mean criterion on the synthetic images beside that on real validation images. Rows are written to
`benchmarks/results/feedback_study.json` as they come.
"""

import argparse
import json
import logging
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

PREPARED = Path("data/prepared")
GUIDES = Path(".runs/feedback_study")
RESULTS = Path("benchmarks/results/feedback_study.json")

Setting = Mapping[str, Any]


def synthesized(**synthesize: str | float | bool) -> Setting:
    """A setting of the synthesize section."""
    return {f"synthesize.{key}": value for key, value in synthesize.items()}


def unguided(**synthesize: str | float | bool) -> Setting:
    """A setting without feedback."""
    return synthesized(feedback="none", **synthesize)


def guided(feedback: str, scale: float, **synthesize: str | float | bool) -> Setting:
    """A setting with feedback."""
    return synthesized(feedback=feedback, feedback_scale=scale, **synthesize)


BALANCED: Setting = {"train_baseline.sampling": "class_balanced"}

# Every setting names its guidance and dropout, so that a new default in params.yaml moves no row.
FIRST = {"guidance_scale": 1.5, "embedding_dropout": 0.4}
TUNED = {"guidance_scale": 1.5, "embedding_dropout": 0.9}

STUDIES: Mapping[str, list[Setting]] = {
    # How strongly the generator is held to its condition, without feedback and with
    "guidance_scale": [
        setting
        for guidance_scale in (3.0, 2.0, 1.5, 1.0)
        for changes in [{**FIRST, "guidance_scale": guidance_scale}]
        for setting in (unguided(**changes), guided("hardness", 0.02, **changes))
    ],
    # One global scale, by criterion, beside "as hard as real, no harder"
    **{
        feedback: [
            *(guided(feedback, scale, **FIRST) for scale in (0.01, 0.02, 0.04, 0.08)),
            guided(feedback, 0.04, **FIRST, feedback_target="real"),
        ]
        for feedback in ("entropy", "hardness", "loss")
    },
    # What conditioning does without feedback
    "conditioning": [
        *(
            unguided(**{**FIRST, "embedding_dropout": dropout}, embedding_rescale=rescale)
            for dropout, rescale in [
                (0.0, False),
                (0.6, False),
                (0.8, False),
                (0.9, False),
                (0.95, False),
                (0.4, True),
                (0.8, True),
            ]
        ),
        unguided(**FIRST, conditioning="text"),
    ],
    # Each criterion's scale again, at the dropout that does best
    "tuned": [
        *(guided("loss", scale, **TUNED) for scale in (0.01, 0.02, 0.04)),
        *(guided("hardness", scale, **TUNED) for scale in (0.01, 0.02, 0.04)),
        *(guided("entropy", scale, **TUNED) for scale in (0.01, 0.02)),
    ],
    # The classifier that guides: balanced or not, calibrated or not
    "guide": [
        {**BALANCED, **guided("loss", 0.01, **TUNED)},
        {**BALANCED, **guided("hardness", 0.01, **TUNED)},
        guided("entropy", 0.01, **TUNED, feedback_calibrated=True),
    ],
    # When in sampling it acts
    "schedule": [
        guided("loss", 0.01, **TUNED, feedback_start=0.0, feedback_end=0.5),
        guided("loss", 0.01, **TUNED, feedback_start=0.5, feedback_end=1.0),
        guided("loss", 0.01, **TUNED, feedback_every=5),
    ],
    # How many images each class is filled up to
    "target": [guided("loss", 0.01, **TUNED, target_per_class=target) for target in (100, 400)],
}


def changed(params: Mapping[str, Any], setting: Setting) -> dict[str, Any]:
    """The parameters with a setting's changes, checked like `params.yaml` itself."""
    sections = dict(params)
    for section in {path.split(".")[0] for path in setting}:
        model = params[section]
        update = {
            path.split(".")[1]: value
            for path, value in setting.items()
            if path.startswith(f"{section}.")
        }
        sections[section] = type(model).model_validate({**model.model_dump(), **update})
    return sections


def identity(params: Mapping[str, Any], seed: int, *sections: str) -> str:
    """Digest of what decides a result: parameters, assets and seed."""
    from fgds_core.files import sha256_file, sha256_tree

    parts = [params[section].model_dump_json() for section in sections]
    parts.append(sha256_file(PREPARED / "meta.json"))
    if "generator" in sections:
        parts.append(sha256_tree(Path(params["generator"].path)))
    return sha256("\n".join([*parts, str(seed)]).encode()).hexdigest()[:16]


def train_guide(params: Mapping[str, Any], seed: int) -> Path:
    """Trains the classifier that guides, or takes the one of an earlier call."""
    from fgds_core.data.splits import read_real
    from fgds_core.stages.train_baseline import fit_baseline

    folder = GUIDES / identity(params, seed, "train_baseline")
    if not (folder / "config.json").exists():
        fit_baseline(read_real(PREPARED), params["train_baseline"], seed, folder)
    return folder


def draw_set(params: Mapping[str, Any], seed: int, guide: Path, out: Path) -> tuple[Any, Any]:
    """Draws a synthetic set into a folder; its images and its table."""
    from fgds_core.data.meta import read_meta
    from fgds_core.synthesis.models import load_models
    from fgds_core.synthesis.part import write_part
    from fgds_core.synthesis.plan import plan_set
    from fgds_core.synthesis.recipe import Recipe
    from fgds_core.synthesis.shards import read_synthetic, write_index

    recipe, meta = Recipe(params["generator"], params["synthesize"], seed), read_meta(PREPARED)
    models = load_models(recipe, PREPARED, [guide])
    plan = plan_set(meta.counts["train"], meta.class_names, recipe.synthesize)
    batch_size, name = params["compute"].batch_size, "feedback-study"
    records = [
        write_part(part, recipe, models, name, out, batch_size=batch_size) for part in plan.parts
    ]
    write_index(
        out,
        records,
        class_names=meta.class_names,
        wanted=plan.wanted,
        fingerprint=name,
        made_by={},
    )
    return read_synthetic(out)


def measure(params: Mapping[str, Any], setting: Setting, seed: int) -> dict[str, Any]:
    """One row: draws with a setting, retrains, and evaluates on validation images."""
    with tempfile.TemporaryDirectory() as folder:
        return _measure(params, setting, seed, Path(folder))


def _measure(
    params: Mapping[str, Any], setting: Setting, seed: int, folder: Path
) -> dict[str, Any]:
    import torch

    from fgds_core.classify.card import read_classifier_config
    from fgds_core.classify.metrics import evaluate
    from fgds_core.classify.network import load_classifier
    from fgds_core.classify.predict import predict_logits, predictions
    from fgds_core.classify.train import train_classifier
    from fgds_core.data.meta import read_meta
    from fgds_core.data.splits import read_prepared
    from fgds_core.feedback.criterion import Known, Seen
    from fgds_core.feedback.gaussians import ClassGaussians
    from fgds_core.feedback.targets import MEASURED
    from fgds_core.judge.classifier import load_witness

    guide = train_guide(params, seed)
    images, _ = draw_set(params, seed, guide, folder)
    classifier = load_classifier(guide)
    known = Known(ClassGaussians.load(guide / "feature_statistics.safetensors"))
    passes = zip(*predictions(classifier, images), strict=True)
    seen = Seen(*(torch.cat(parts) for parts in passes))
    present = [label for label in range(len(images.class_names)) if label in images.labels]
    criterion = {
        name: {
            images.class_names[label]: {
                "synthetic": values[images.labels == label].mean().item(),
                "real": (read_classifier_config(guide).criterion_on_real or {})[name][label],
            }
            for label in present
        }
        for name, values in (
            (name, criterion(seen, images.labels, known)) for name, criterion in MEASURED.items()
        )
    }
    agreement = {}
    if params["judge"].kind == "classifier":
        judge = load_witness(Path(params["judge"].path), images.class_names)
        judged = predict_logits(judge, images).argmax(dim=-1)  # [N]
        agreement = {
            images.class_names[label]: (judged[images.labels == label] == label)
            .double()
            .mean()
            .item()
            for label in present
        }
    meta = read_meta(PREPARED)
    val = read_prepared(PREPARED, "val")
    final = train_classifier(
        read_prepared(PREPARED, "train"),
        val,
        params["train_baseline"],
        seed,
        synthetic=images,
        real_share=params["retrain"].real_share,
    )
    return {
        "setting": dict(setting),
        "synthesize": params["synthesize"].model_dump(mode="json"),
        "seed": seed,
        "num_synthetic": len(images),
        "guide": evaluate(classifier, val, meta.bins, seed=seed).metrics,
        "final": evaluate(final, val, meta.bins, seed=seed).metrics,
        "criterion": criterion,
        "label_agreement": agreement,
    }


def _train_guide(task: tuple[Setting, int]) -> Path:
    """The guide of one row in a worker process."""
    from flows.cli.params import read_params

    setting, seed = task
    return train_guide(changed(read_params(Path("params.yaml")), setting), seed)


def _measure(task: tuple[Setting, int]) -> tuple[str, dict[str, Any]]:
    """One row in a worker process."""
    from flows.cli.params import read_params

    setting, seed = task
    params = changed(read_params(Path("params.yaml")), setting)
    sections = ("train_baseline", "generator", "synthesize", "retrain")
    return identity(params, seed, *sections), measure(params, setting, seed)


def missing_rows(
    settings: list[Setting], seeds: list[int], done: Mapping[str, Any]
) -> Iterator[Any]:
    """The settings and seeds that have no row yet, seed by seed."""
    from flows.cli.params import read_params

    params = read_params(Path("params.yaml"))
    sections = ("train_baseline", "generator", "synthesize", "retrain")
    for seed in seeds:
        for setting in settings:
            if identity(changed(params, setting), seed, *sections) not in done:
                yield setting, seed


def main() -> None:
    """Runs what is missing of the studies, two settings at a time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", nargs="+", default=list(STUDIES), choices=list(STUDIES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="settings at a time")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)

    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    settings: list[Setting] = []
    for study in args.studies:
        settings += [setting for setting in STUDIES[study] if setting not in settings]
    tasks = list(missing_rows(settings, args.seeds, rows))
    os.environ["OMP_NUM_THREADS"] = str(max(1, (os.cpu_count() or 1) // args.jobs))
    with multiprocessing.get_context("spawn").Pool(args.jobs) as pool:
        guides = {
            (str(setting.get("train_baseline.sampling")), seed): (setting, seed)
            for setting, seed in tasks
        }
        pool.map(_train_guide, guides.values())
        for number, (key, row) in enumerate(pool.imap_unordered(_measure, tasks), start=1):
            rows[key] = row
            RESULTS.parent.mkdir(parents=True, exist_ok=True)
            part = RESULTS.with_suffix(".part")
            part.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n")
            part.replace(RESULTS)
            final = {name: row["final"][name] for name in ("overall", "many", "medium", "few")}
            log.info(
                "%d/%d seed %d %s: %s", number, len(tasks), row["seed"], row["setting"], final
            )


if __name__ == "__main__":
    main()
