"""Which training is the strongest without a synthetic image, and what the images add to each.

    python -m benchmarks.training --run /path/of/a/finished/default/run      # hours on 2 cores
    python -m benchmarks.training --show                                     # the tables at hand
    python -m benchmarks.training --run PATH --seeds 0 --steps 20 --out /tmp/try      # a try

Each arm is a training as `retrain.training` would name it, once on the real images alone and once
with the synthetic set of that run, on **validation** images: no test image is opened. The seed
moves weights, batches and augmentation; the synthetic images are the same ones for all seeds.
Trainings that are there stay, so the same command goes on after it was stopped. The tables go to
`training.json` among the results and to `docs/trials.md`.

The rule, stated before any was trained: the strongest real-only control is the arm with the
highest mean class recall on validation images, averaged over the seeds, of those trained on real
images alone.
"""

import argparse
import json
import logging
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from benchmarks.documents import show
from benchmarks.experiments import RESULTS, each_in_processes, percent, write_json
from fgds_core.classify.config import RetrainConfig, TrainConfig, final_recipe
from fgds_core.classify.metrics import evaluate, interval
from fgds_core.classify.train import train_classifier
from fgds_core.data.meta import Meta, read_meta
from fgds_core.data.splits import read_prepared
from fgds_core.images.dataset import ImageDataset
from fgds_core.synthesis.shards import INDEX_NAME, read_synthetic
from flows.cli.params import read_params
from tasks.identity.code import digest

log = logging.getLogger(__name__)

ROOT = Path(__file__).parent.parent
RESULT = RESULTS / "training.json"

CONTROL = "class-balanced"
"""The arm that is the control today, from which differences are taken."""

COLUMNS = ("macro", "overall", "many", "medium", "few")

Runs = dict[str, dict[str, Any]]
Columns = dict[str, dict[str, Any] | None]
Overrides = Mapping[str, Any]

BALANCED: Overrides = {"sampling": "class_balanced"}
BALANCED_SOFTMAX: Overrides = {"loss": "balanced_softmax"}
HALF_ADJUSTED: Overrides = {"loss": "logit_adjustment", "loss_kwargs": {"tau": 0.5}}
LABEL_AWARE: Overrides = {"loss": "label_aware_smoothing", "label_smoothing": 0.0}
LDAM: Overrides = {"loss": "ldam", "head": "cosine", "label_smoothing": 0.0}


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes:
        training: The keys of `train_baseline` in which it differs from params.yaml.
        retrain: Keys of `retrain`, what is done with synthetic images; with one of them there is
            no training on real images alone, which would be that of another arm.
    """

    training: Overrides
    retrain: Overrides = field(default_factory=dict)

    @property
    def kinds(self) -> tuple[bool, ...]:
        """Whether it is trained without (False) and with synthetic images (True)."""
        real_alone = self.training.get("second_stage") in ("last_layer_real", "real")
        return (True,) if self.retrain or real_alone else (False, True)


ARMS: Mapping[str, Arm] = {
    # Sampling
    "instance": Arm({}),
    "square root": Arm({"sampling": "square_root"}),
    CONTROL: Arm(BALANCED),
    "progressive": Arm({"sampling": "progressive"}),
    # Losses
    "Balanced Softmax": Arm(BALANCED_SOFTMAX),
    "logit adjustment, tau 0.5": Arm(HALF_ADJUSTED),
    "LDAM-DRW": Arm(LDAM),
    "class-balanced focal": Arm({"loss": "class_balanced_focal"}),
    "label-aware smoothing": Arm(LABEL_AWARE),
    "class-balanced + label-aware smoothing": Arm({**BALANCED, **LABEL_AWARE}),
    "square root + logit adjustment, tau 0.5": Arm({**HALF_ADJUSTED, "sampling": "square_root"}),
    # Heads
    "class-balanced, cosine head": Arm({**BALANCED, "head": "cosine"}),
    # Second stages
    "cRT": Arm({"second_stage": "crt"}),
    "LWS": Arm({"second_stage": "lws"}),
    "class-balanced + cRT": Arm({**BALANCED, "second_stage": "crt"}),
    "mixup + cRT": Arm({"mix": "mixup", "second_stage": "crt"}),
    "mixup + label-aware smoothing + LWS": Arm(
        {**LABEL_AWARE, "mix": "mixup", "second_stage": "lws"}
    ),
    # Post hoc
    "post-hoc logit adjustment": Arm({"posthoc": "logit_adjustment"}),
    "tau-normalisation": Arm({"posthoc": "tau_normalization"}),
    "class-balanced + post-hoc logit adjustment": Arm({**BALANCED, "posthoc": "logit_adjustment"}),
    "mixup + post-hoc logit adjustment": Arm({"mix": "mixup", "posthoc": "logit_adjustment"}),
    # Mixing
    "class-balanced + mixup": Arm({**BALANCED, "mix": "mixup"}),
    "class-balanced + CutMix": Arm({**BALANCED, "mix": "cutmix"}),
    "CMO": Arm({"mix": "cmo"}),
    "class-balanced + CMO": Arm({**BALANCED, "mix": "cmo"}),
    "Balanced Softmax + CMO": Arm({**BALANCED_SOFTMAX, "mix": "cmo"}),
    "logit adjustment, tau 0.5 + CMO": Arm({**HALF_ADJUSTED, "mix": "cmo"}),
    # What is done with synthetic images
    "class-balanced, last layer on real": Arm({**BALANCED, "second_stage": "last_layer_real"}),
    "class-balanced, then real": Arm({**BALANCED, "second_stage": "real"}),
    "class-balanced, real share 0.75": Arm(BALANCED, {"real_share": 0.75}),
    "class-balanced, synthetic weight 0.5": Arm(BALANCED, {"synthetic_weight": 0.5}),
    "class-balanced, synthetic smoothing 0.2": Arm(BALANCED, {"synthetic_label_smoothing": 0.2}),
    "class-balanced, split batch norm": Arm(BALANCED, {"split_batch_norm": True}),
    "class-balanced + CutMix within a source": Arm(
        {**BALANCED, "mix": "cutmix"}, {"mix_within_source": True}
    ),
}
"""Second stage dfr is not among them: it learns from the validation images that value it."""


@dataclass(frozen=True)
class Piece:
    """One training."""

    arm: str
    synthetic: bool
    seed: int

    @property
    def name(self) -> str:
        """Its key among the runs."""
        return f"{self.arm}, {'synthetic' if self.synthetic else 'real'}, seed {self.seed}"


@dataclass(frozen=True)
class Place:
    """Where the images are, and how all arms are trained.

    Attributes:
        run: Folder of a finished run: its `data/prepared` and `data/synthetic` are read.
        base: What arms differ from.
        retrain: What is done with synthetic images, where an arm names nothing else.
    """

    run: Path
    base: TrainConfig
    retrain: RetrainConfig

    def recipe(self, arm: str) -> TrainConfig:
        """How an arm is trained."""
        return final_recipe(self.base, ARMS[arm].training)

    def synthetic(self, arm: str) -> RetrainConfig:
        """What an arm does with synthetic images."""
        return self.retrain.model_copy(update={**ARMS[arm].retrain, "training": {}})

    def source_of(self, run: Mapping[str, Any]) -> str | None:
        """What a run would be made of now; None if there is no such arm any more."""
        if run["arm"] not in ARMS:
            return None
        return self.source(Piece(run["arm"], run["synthetic"], run["seed"]))

    def source(self, piece: Piece) -> str:
        """Digest of all that makes a result: code, images and recipe."""
        meta = read_meta(self.run / "data" / "prepared")
        images = [meta.content_sha256["train"], meta.content_sha256["val"]]
        if piece.synthetic:
            index = self.run / "data" / "synthetic" / INDEX_NAME
            images += [sha256(index.read_bytes()).hexdigest()]
            images += [self.synthetic(piece.arm).model_dump_json()]
        made_of = [digest("fgds_core.classify.train"), self.recipe(piece.arm).model_dump_json()]
        return sha256("\n".join([*made_of, *images]).encode()).hexdigest()


@cache
def _images(run: Path) -> tuple[Meta, ImageDataset, ImageDataset, ImageDataset]:
    """What is known of the images; real training, validation and synthetic images."""
    prepared = run / "data" / "prepared"
    real, val = (read_prepared(prepared, split) for split in ("train", "val"))
    return read_meta(prepared), real, val, read_synthetic(run / "data" / "synthetic")[0]


def trained(place: Place, piece: Piece) -> dict[str, float | None]:
    """Trains one classifier in this process; its columns on validation images."""
    meta, real, val, synthetic = _images(place.run)
    how = place.synthetic(piece.arm)
    classifier = train_classifier(
        real,
        val,
        place.recipe(piece.arm),
        piece.seed,
        synthetic=synthetic if piece.synthetic else None,
        real_share=how.real_share,
        treatment=how.treatment,
    )
    found = evaluate(classifier, val, meta.bins, seed=piece.seed)
    recalls = [row["recall"] for row in found.per_class if row["recall"] is not None]
    columns = {**found.metrics, "macro": sum(recalls) / len(recalls)}
    return {name: None if columns[name] is None else round(columns[name], 6) for name in COLUMNS}


def run_missing(place: Place, pieces: Sequence[Piece], folder: Path, jobs: int) -> Runs:
    """Trains what is not among the runs yet, or was made of something else; keeps each at once.

    Returns:
        These runs and others that are there, if they would be made of the same.

    Raises:
        SystemExit: Some failed; the others are kept.
    """
    path = folder / "training_runs.json"
    kept: Runs = json.loads(path.read_text()) if path.exists() else {}
    runs = {name: run for name, run in kept.items() if run["source"] == place.source_of(run)}
    missing = [piece for piece in pieces if piece.name not in runs]
    log.info("%d trainings, %d are to be done", len(pieces), len(missing))

    def keep(name: str, columns: dict[str, float | None]) -> None:
        piece = wanted[name]
        runs[name] = {
            **asdict(piece),
            "training": dict(ARMS[piece.arm].training),
            "retrain": dict(ARMS[piece.arm].retrain),
            "source": place.source(piece),
            "columns": columns,
        }
        write_json(path, runs)
        write_json(folder / RESULT.name, summary(runs.values()))
        log.info("%s: %.4f", name, columns["macro"])

    wanted = {piece.name: piece for piece in missing}
    each_in_processes(partial(trained, place), wanted, keep, jobs)
    return runs


def summary(runs: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Means and 95 % intervals over seeds, differences from the control, and the strongest.

    Args:
        runs: The trainings, with all that `run_missing` keeps of them.
    """
    found: dict[tuple[str, bool], dict[int, Mapping[str, float | None]]] = {}
    arms: dict[str, Overrides] = {}
    for run in runs:
        found.setdefault((run["arm"], run["synthetic"]), {})[run["seed"]] = run["columns"]
        arms[run["arm"]] = {"training": run["training"], "retrain": run["retrain"]}

    def over_seeds(value: Callable[[int, str], float | None], seeds: Iterable[int]) -> Columns:
        columns: Columns = {}
        for column in COLUMNS:
            values = [each for seed in sorted(seeds) if (each := value(seed, column)) is not None]
            columns[column] = interval(values) if values else None
        return columns

    def means(key: tuple[str, bool]) -> Columns:
        of_seed = found.get(key, {})
        return over_seeds(lambda seed, column: of_seed[seed][column], of_seed)

    def differences(key: tuple[str, bool], other: tuple[str, bool]) -> Columns:
        one, two = found.get(key, {}), found.get(other, {})

        def difference(seed: int, column: str) -> float | None:
            a, b = one[seed][column], two[seed][column]
            return None if a is None or b is None else a - b

        return over_seeds(difference, one.keys() & two.keys())

    of_real = {arm: of_seed for (arm, synthetic), of_seed in found.items() if not synthetic}
    complete = max(map(len, of_real.values()), default=0)
    real_only = {
        arm: sum(each["macro"] or 0 for each in of_seed.values()) / complete
        for arm, of_seed in of_real.items()
        if len(of_seed) == complete
    }
    return {
        "control": CONTROL,
        "strongest_real_only": max(real_only, key=lambda arm: real_only[arm], default=None),
        "real_only_tries": len(real_only),
        "seeds": sorted({seed for of_seed in found.values() for seed in of_seed}),
        "arms": {
            arm: {
                **arms[arm],
                "real": means((arm, False)),
                "synthetic": means((arm, True)),
                "real_minus_control": differences((arm, False), (CONTROL, False)),
                "synthetic_minus_control": differences((arm, True), (CONTROL, False)),
                "synthetic_minus_real": differences((arm, True), (arm, False)),
            }
            for arm in ARMS
            if arm in arms
        },
    }


def as_markdown(results: Mapping[str, Any]) -> str:
    """What `docs/trials.md` says of the results: tables, and the strongest control by name."""
    arms, strongest, control = results["arms"], results["strongest_real_only"], results["control"]
    lines = []
    for kind, title in (("real", "real images alone"), ("synthetic", "with synthetic images")):
        lines += [
            f"| {title} | " + " | ".join(COLUMNS) + f" | macro, over {control} |",
            "|---" * (len(COLUMNS) + 2) + "|",
        ]
        trained = [name for name, arm in arms.items() if arm[kind]["macro"] is not None]
        for name in sorted(trained, key=lambda each: -arms[each][kind]["macro"]["mean"]):
            arm = arms[name]
            shown = f"**{name}**" if kind == "real" and name == strongest else name
            cells = [percent(arm[kind][column]) for column in COLUMNS]
            difference = percent(arm[f"{kind}_minus_control"]["macro"], "+")
            lines.append(f"| {shown} | " + " | ".join([*cells, difference]) + " |")
        lines.append("")
    best = arms[strongest]
    lines += [
        f"Of {results['real_only_tries']} arms on real images alone **{strongest}** has the "
        f"highest mean class recall ({percent(best['real']['macro'])} %,",
        f"{percent(best['real_minus_control']['macro'], '+')} points over {control}; seeds "
        f"{', '.join(map(str, results['seeds']))}): the strongest real-only control by the rule "
        "above.",
    ]
    if best["synthetic_minus_real"]["macro"] is not None:
        lines.append(
            "The synthetic images add "
            f"{percent(best['synthetic_minus_real']['macro'], '+')} points to it."
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Trains what is missing and writes the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--run", type=Path, help="folder of a finished run of the default job")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="processes, each of one thread")
    parser.add_argument("--steps", type=int, help="for a try: so many steps in place of num_steps")
    parser.add_argument("--out", type=Path, help="for a try: another folder for the results")
    parser.add_argument("--show", action="store_true", help="print the tables, train nothing")
    args = parser.parse_args()
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(message)s",
        stream=sys.stderr,
        force=True,  # Prefect has put a handler of its own there
    )
    logging.getLogger("fgds_core").setLevel(logging.WARNING)
    if args.steps and args.out is None:
        parser.error("--steps is for a try: name a folder for it with --out")
    folder = args.out or RESULTS
    if args.show:
        results = json.loads((folder / RESULT.name).read_text())
    else:
        if args.run is None:
            parser.error("--run is needed: the folder of a finished run of the default job")
        params = read_params(ROOT / "params.yaml")
        base, retrain = params["train_baseline"], params["retrain"]
        if args.steps:
            fewer = {
                "num_steps": args.steps,
                "warmup_steps": 0,
                "eval_every": args.steps,
                "second_stage_steps": args.steps,
            }
            base = final_recipe(base, fewer)
        place = Place(args.run.resolve(), base, retrain)
        pieces = [
            Piece(arm, synthetic, seed)
            for seed in args.seeds
            for synthetic in (False, True)
            for arm in args.arms
            if synthetic in ARMS[arm].kinds
        ]
        results = summary(run_missing(place, pieces, folder, args.jobs).values())
        write_json(folder / RESULT.name, results)
        if args.out is None:
            show(RESULT.name, as_markdown(results))
    print(as_markdown(results))


if __name__ == "__main__":
    main()
