"""How often the generator check errs: what it names among images that are right, and that are not.

    python -m benchmarks.ability                  # ten minutes of one core; writes ability.json
    python -m benchmarks.ability --only letters   # one case; the others stay as they were

Drawn by the embedded generator and checked exactly as synthesize does, each set at a seed of its
own: all garments of Fashion-LT by the default parameters, Fashion-Contexts by its recipe (classes,
groups, and classes in a group), letters from fonts, garments by a denoiser of random weights, and
garments under names that the text encoder does not know. The judge is `assets/judge`, of letters
there is none.

Two more cases draw nothing. `real`: validation images take the place of drawn ones, beside others
of their class. `joined`: a share of them are of another class, and the rule of the check, where
each piece of evidence stands for itself, is compared with two that join all of them at the same
level.
"""

import argparse
import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from scipy.stats import binom, cauchy, chi2

from benchmarks.experiments import RESULTS, write_json
from benchmarks.letters import OVERRIDES, ROOT, write_letters
from fgds_core.ability.check import CELL_IMAGES
from fgds_core.ability.evidence import DOUBT, ERROR, TOLERATED, Evidence, compare, judged, low
from fgds_core.ability.record import Ability, read_ability
from fgds_core.ability.spaces import network_space, pixels
from fgds_core.data.meta import read_meta
from fgds_core.data.prepare import prepare
from fgds_core.data.splits import read_real
from fgds_core.images.table import image_table, read_table, write_images
from fgds_core.judge.kinds import load_kind
from fgds_core.judge.record import JudgeRecord
from fgds_core.stages.check import Places, check_generator
from fgds_core.stages.judge import calibrate
from fgds_core.synthesis.models import LoadedModels, load_models
from fgds_core.synthesis.part import write_part
from fgds_core.synthesis.plan import plan_of
from fgds_core.synthesis.recipe import Recipe
from flows.cli.params import read_params
from tasks.ability import check_plan, second_look, unguided

RESULT = RESULTS / "ability.json"
DEFAULT = ROOT / "params.yaml"

CHECKED = 20
"""Images of a class, as the default parameters draw them."""

OTHERS = (5, 10, 20, 50, 100)
"""Real images beside which real ones stand for drawn ones."""

BESIDE = 40
"""Real images beside which such with others among them stand."""

TRIALS = 100
"""Of each class, of each number or share."""

SHARES = (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Of images that show another class."""

UNKNOWN = (
    *("zebra", "pizza", "volcano", "bicycle", "mushroom"),
    *("violin", "penguin", "qwxyz", "helicopter", "brown bear"),
)
"""Ten names that the embedded text encoder has never read."""

Changes = Mapping[str, Mapping[str, Any]]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """What is drawn and checked.

    Attributes:
        sets: How many times.
        params: Parameters.
        changes: What differs from them, by section.
        letters: Whether letters are rendered for it, which no judge knows.
        random: Whether the denoiser has random weights.
        names: What the classes are called in place of their names; empty leaves them.
    """

    sets: int
    params: Path = DEFAULT
    changes: Changes = field(default_factory=dict)
    letters: bool = False
    random: bool = False
    names: tuple[str, ...] = ()


ALL: Changes = {"synthesize": {"target_per_class": 1000}}
"""So that no class has enough."""

LETTERS = {**OVERRIDES, "synthesize": {**OVERRIDES["synthesize"], **ALL["synthesize"]}}
"""As `benchmarks.letters` draws them."""

CASES = {
    "garments": Case(13, changes=ALL),
    "contexts": Case(
        3,
        ROOT / "recipes" / "fashion_contexts.yaml",
        changes={"synthesize": {"target_per_group": 1000}},
    ),
    "contexts dual": Case(
        3,
        ROOT / "recipes" / "fashion_contexts.yaml",
        changes={
            "synthesize": {
                "target_per_group": 1000,
                "conditioning": "dual",
                "embedding_dropout": 0.9,
            }
        },
    ),
    "letters": Case(4, changes=LETTERS, letters=True),
    "random": Case(3, changes=ALL, random=True),
    "words": Case(3, changes=ALL, names=UNKNOWN),
}


def parameters(case: Case, place: Path) -> dict[str, Any]:
    """The parameters of a case, with whole paths."""
    params = yaml.safe_load(case.params.read_text())
    for section, values in case.changes.items():
        params[section] = dict(values) if section == "data" else {**params[section], **values}
    params["generator"]["path"] = str(ROOT / params["generator"]["path"])
    params["synthesize"] |= {"check_images": CHECKED, "guide": "baseline"}
    root = (place if case.letters else ROOT) / params["data"]["root"]
    if case.names:
        rename(root, place / "renamed", case.names)
        root = place / "renamed"
    params["data"]["root"] = str(root)
    file = place / "params.yaml"
    file.write_text(yaml.safe_dump(params, sort_keys=False))
    return read_params(file)


def rename(root: Path, out: Path, names: tuple[str, ...]) -> None:
    """Copies Parquet files of images, under other names of their classes."""
    for path in root.glob("*.parquet"):
        rows = read_table(path)
        files = [image["bytes"] for image in rows["image"].to_pylist()]
        write_images(out / path.name, image_table(files, rows["label"].to_pylist(), names))


def random_weights(generator: Path, folder: Path) -> Path:
    """A copy of a generator whose denoiser has learnt nothing."""
    from diffusers import UNet2DConditionModel

    shutil.copytree(generator, folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = UNet2DConditionModel.load_config(folder / "unet")
        UNet2DConditionModel.from_config(config).save_pretrained(folder / "unet")
    return folder


def judge_of(params: Mapping[str, Any], names: tuple[str, ...], place: Path) -> None:
    """The embedded judge, calibrated; under other names if the classes have some."""
    folder = Path(shutil.copytree(ROOT / "assets" / "judge", place / "witness"))
    if names:
        card = folder / "config.json"
        known = json.loads(card.read_text())
        bins = dict(zip(names, known["bins"].values(), strict=True))
        card.write_text(json.dumps({**known, "class_names": list(names), "bins": bins}))
    config = params["judge"].model_copy(update={"kind": "classifier", "path": str(folder)})
    prepared = place / "prepared"
    class_names = read_meta(prepared).class_names
    record: JudgeRecord = load_kind("classifier").who(config, params["generator"], class_names, ())
    calibrate(prepared, record, folder, place / "judge")


def checks(case: Case, place: Path) -> Iterator[dict[str, Any]]:
    """What the check says of each set."""
    if case.letters:
        write_letters(place / "letters")
    params = parameters(case, place)
    prepared = place / "prepared"
    prepare(params["data"], params["prepare"], prepared)
    generator = params["generator"]
    if case.random:
        path = random_weights(Path(generator.path), place / "random")
        generator = generator.model_copy(update={"path": str(path)})
    if not case.letters:
        judge_of(params, case.names, place)
    whole = plan_of(read_meta(prepared), params["synthesize"])
    plan = check_plan(whole, CHECKED)
    models: LoadedModels | None = None
    for seed in range(case.sets):
        recipe = unguided(Recipe(generator, params["synthesize"], seed))
        models = models or load_models(recipe, prepared, (), "cpu")
        out, record = place / f"drawn-{seed}", place / f"ability-{seed}.json"
        drawn: dict[int, list[Path]] = {}
        places = Places(prepared, drawn, place / "judge", place / "none", record)
        parts = plan.parts
        while parts:
            for part in parts:
                file = out / write_part(part, recipe, models, "", out, batch_size=64).path
                drawn.setdefault(part.label, []).append(file)
            check_generator(recipe, Ability(CHECKED, generator.path, "refuse", ""), places)
            said = json.loads(record.read_text())
            again = parts != plan.parts
            parts = () if again else second_look(plan, read_ability(record).in_doubt).parts
        yield {**said, "again": again}


def told(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How many of some classes, groups or both are named, and why."""
    reasons = Counter(reason for row in rows for reason in row["reasons"])
    named = [row["name"] for row in rows if row["can_draw"] is False]
    return {
        "checked": len(rows),
        "named": len(named),
        "in_doubt": sum(bool(row.get("doubts")) for row in rows),
        "cannot_tell": sum(row["can_draw"] is None for row in rows),
        "reasons": dict(sorted(reasons.items())),
        "which": dict(sorted(Counter(named).items())),
        "most_far_of_one": max(max(row["far"].values(), default=0) for row in rows),
    }


def drawn(name: str) -> dict[str, Any]:
    """A case in which images are drawn."""
    with TemporaryDirectory(prefix="fgds-ability-") as folder:
        found = list(checks(CASES[name], Path(folder)))
    rows = {
        kind: [row for each in found for row in each.get(kind, ())]
        for kind in ("classes", "groups", "cells")
    }
    images = sum(row["num_images"] for row in rows["classes"])
    result = {kind: told(some) for kind, some in rows.items() if some}
    second = sum(each["again"] for each in found)
    return {"sets": len(found), "second_looks": second, "images": images, **result}


@dataclass(frozen=True, eq=False)
class Garment:
    """The real validation images of a class.

    Attributes:
        spaces: Their features, [M, D] each, and the slack of each space.
        seen: What the judge takes each for, [M].
    """

    name: str
    spaces: Mapping[str, tuple[Array, float]]
    seen: NDArray[np.int64]


def real_garments(place: Path) -> list[Garment]:
    """All garments of Fashion-LT."""
    from fgds_core.judge.judge import load_judge

    params = parameters(CASES["garments"], place)
    prepare(params["data"], params["prepare"], place / "prepared")
    judge_of(params, (), place)
    real = read_real(place / "prepared")
    names = real.meta.class_names
    judge = load_judge(place / "judge", names)
    spaces = [*network_space(params["generator"], place / "none", "cpu"), pixels(real.val)]
    garments = []
    for label, name in enumerate(names):
        images = real.val.of_class(label)
        features = {s.name: (s.features(images).numpy(), s.slack) for s in spaces}
        seen = judge.probabilities(images).argmax(dim=1).numpy()
        garments.append(Garment(name, features, seen))
    return garments


def evidence_of(
    garment: Garment,
    others: NDArray[np.int64],
    some: Mapping[str, Array],
    rng: np.random.Generator,
) -> Evidence:
    """What some features say beside real images of a class; no judge is asked."""
    compared = {
        name: compare(real[others], some[name], rng, slack=slack)
        for name, (real, slack) in garment.spaces.items()
    }
    number = len(next(iter(some.values())))
    return Evidence(
        num_images=number,
        num_real=len(others),
        num_validation=len(others),
        far={name: int(each.far.sum()) for name, each in compared.items() if each},
        variety={name: each.variety for name, each in compared.items() if each},
        seen=None,
        recognised=(0, 0),
    )


def real(_: str) -> dict[str, Any]:
    """Real images in place of drawn ones: how many classes are named, of as many trials."""
    rng, found = np.random.default_rng(0), dict[str, dict[str, int]]()
    with TemporaryDirectory(prefix="fgds-ability-") as folder:
        garments = real_garments(Path(folder))
    for number in (CHECKED, CELL_IMAGES):
        named = found.setdefault(f"{number} images", {})
        for beside in OTHERS:
            verdicts = []
            for garment in garments:
                for _ in range(TRIALS):
                    rows = rng.permutation(len(garment.seen))[: number + beside]
                    some = {k: v[rows[:number]] for k, (v, _) in garment.spaces.items()}
                    evidence = evidence_of(garment, rows[number:], some, rng)
                    verdicts.append(judged(garment.name, evidence).can_draw)
            named[f"beside {beside}"] = verdicts.count(False)
    return {"trials": len(garments) * TRIALS, "named": found}


def alone(p: Array) -> bool:
    """The rule of the check: one piece of evidence is sure. Holm's, for whether any is."""
    return bool(p.min() < ERROR)


def fisher(p: Array) -> bool:
    """Fisher's method, as if the pieces were independent."""
    return bool(chi2.sf(-2 * np.log(p).sum(), 2 * len(p)) < len(p) * ERROR)


def cauchy_combined(p: Array) -> bool:
    """Liu and Xie (2020), https://arxiv.org/abs/1808.09011, for pieces that depend."""
    mean = np.tan((0.5 - np.clip(p, 1e-12, 1 - 1e-12)) * np.pi).mean()
    return bool(cauchy.sf(mean) < len(p) * ERROR)


RULES: dict[str, Callable[[Array], bool]] = {
    "alone": alone,
    "fisher": fisher,
    "cauchy": cauchy_combined,
}

LOOKS = "two looks"
"""The rule of the check with what it does in doubt: as many images again, `alone` once more."""


def joined(_: str) -> dict[str, Any]:
    """A share of images shows another class: how many classes each rule names."""
    rng, found = np.random.default_rng(0), dict[str, dict[str, int]]()
    with TemporaryDirectory(prefix="fgds-ability-") as folder:
        garments = real_garments(Path(folder))
    for share in SHARES:
        named = found.setdefault(f"{share:.1f}", dict.fromkeys((*RULES, LOOKS), 0))
        for label in range(len(garments)):
            for _ in range(TRIALS):
                once, twice = p_values(garments, label, share, rng)
                for name, rule in RULES.items():
                    named[name] += rule(once)
                named[LOOKS] += alone(once) or bool(once.min() < DOUBT and alone(twice))
    return {"trials": len(garments) * TRIALS, "named": found}


def p_values(
    garments: list[Garment], label: int, share: float, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Of each piece of evidence, where some images show another class: how likely by chance.

    Returns:
        Of one look, and of twice as many images.
    """
    garment = garments[label]
    other = garments[rng.choice([k for k in range(len(garments)) if k != label])]
    rows, of_other = (rng.permutation(len(each.seen)) for each in (garment, other))
    beside = rows[-BESIDE:]
    recall = low(int((garment.seen[beside] == label).sum()), len(beside))
    found = []
    for number in (CHECKED, 2 * CHECKED):
        wrong = of_other[: round(share * number)]
        own = rows[: number - len(wrong)]
        some = {
            name: np.concatenate([features[own], other.spaces[name][0][wrong]])
            for name, (features, _) in garment.spaces.items()
        }
        evidence = evidence_of(garment, beside, some, rng)
        far = [binom.sf(each - 1, number, TOLERATED) for each in evidence.far.values()]
        seen = int((garment.seen[own] == label).sum() + (other.seen[wrong] == label).sum())
        found.append(np.array([*far, binom.cdf(seen, number, TOLERATED * recall)]))
    return found[0], found[1]


MEASURED: dict[str, Callable[[str], dict[str, Any]]] = {
    **dict.fromkeys(CASES, drawn),
    "real": real,
    "joined": joined,
}


def main() -> None:
    """Measures the cases that are asked for and writes them beside the others."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=MEASURED, action="append", help="may be given twice")
    parser.add_argument("--sets", type=int, help="for a try: so many of each")
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    logging.disable(logging.INFO)
    torch.set_num_threads(1)
    if args.sets:
        CASES.update({name: replace(case, sets=args.sets) for name, case in CASES.items()})
    found = json.loads(args.out.read_text()) if args.out.exists() else {}
    for name in args.only or MEASURED:
        found[name] = MEASURED[name](name)
        write_json(args.out, found)
        print(name, json.dumps(found[name]), flush=True)


if __name__ == "__main__":
    main()
