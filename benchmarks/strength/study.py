"""What is asked of the pieces: does a proxy rank like a retraining, what wins, and over imbalance.

Every number is a mean class recall on validation images; no test image is opened. What a half of
them has chosen is reported on the other half, and the halves then change places.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.controls.place import ROOT
from benchmarks.experiments import RESULTS
from benchmarks.strength.halving import Rung, successive_halving
from benchmarks.strength.pieces import Candidate, OutOfTime, Piece, Study, mean, plain
from benchmarks.strength.variants import place_at
from fgds_core.classify.metrics import interval

SCALES = (0.0, 0.005, 0.01, 0.02, 0.04)
SCALES_OVER_IMBALANCE = (0.0, 0.01, 0.04)
GUIDANCE_SCALES = (1.0, 1.5, 2.0, 3.0)
DROPOUTS = (0.5, 0.8, 0.9, None)
DEFAULT = plain(1.5, 0.9, 0.01)

GRID = tuple(plain(*each) for each in product(GUIDANCE_SCALES, DROPOUTS, SCALES))
NUM_TRIED, GRID_SEED = 24, 0
"""Candidates of the first rung, the default among them, and the seed of their choice."""

RUNGS = (Rung(20, 8), Rung(60, 3), Rung(200, 1))
"""Budgets are synthetic images a class."""

MEASURES = {20: "head", 60: "head", 200: "full"}
"""How a candidate is valued at a budget."""

FEEDBACK = ROOT / RESULTS / "feedback_study.json"

HALVES = (0, 1)
FINAL_SEEDS = (0, 1, 2)
"""Of the trainings by which the last rung chooses, and by which its winner is reported."""

PROXIES = (("head", 20),)
"""Measures that may stand for a full training with all images, and their images a class."""

FACTORS = (100, 50, 200, 10)

BLENDS = tuple(
    Candidate(1.5, 0.9, scales)
    for scales in (
        (0.01, 0.01, 0.0),
        (0.01, 0.01, 0.02),
        (0.0, 0.0, 0.01),
        (0.0, 0.0, 0.02),
        (0.02, 0.02, 0.01),
    )
)
"""The default with another scale in the classes of some bin."""

FEWER = Candidate(1.5, 0.9, (0.01, 0.01, 0.01), target=100)

BOOTSTRAPS = 2000


def tried() -> list[Candidate]:
    """The candidates of the first rung: some of the grid at random, the default first."""
    others = [candidate for candidate in GRID if candidate != DEFAULT]
    chosen = np.random.default_rng(GRID_SEED).choice(len(others), NUM_TRIED - 1, replace=False)
    return [DEFAULT, *(others[i] for i in sorted(chosen.tolist()))]


def crossed(factor: int, candidate: Candidate | None) -> list[Piece]:
    """Two full trainings: another seed, and the other half to choose the checkpoint by."""
    return [Piece(candidate, half, seed=half, factor=factor) for half in HALVES]


def retrained(rows: Iterable[Mapping[str, Any]]) -> dict[Candidate, dict[int, Any]]:
    """What full retrainings of the study of feedback found on all validation images, by seed.

    Args:
        rows: Of `feedback_study.json`. They are class-balanced retrainings, the default then, with
            guides, images and networks of each seed. Used are those without feedback or with
            loss that differ in guidance, dropout and scale alone, of at least two seeds.
    """
    at_default = {
        "embedding_rescale": False,
        "feedback_target": "none",
        "feedback_every": 2,
        "feedback_start": 0.0,
        "feedback_end": 1.0,
        "target_per_class": 200,
    }
    found: dict[Candidate, dict[int, Any]] = {}
    for row in rows:
        config = row["synthesize"]
        if (
            config["feedback"] not in ("none", "loss")
            or "train_baseline.sampling" in row["setting"]
        ):
            continue
        if any(config[key] != value for key, value in at_default.items()):
            continue
        dropout = None if config["conditioning"] == "text" else config["embedding_dropout"]
        scale = 0.0 if config["feedback"] == "none" else config["feedback_scale"]
        of_seeds = found.setdefault(plain(config["guidance_scale"], dropout, scale), {})
        of_seeds[row["seed"]] = row["final"]
    several = {each: of_seeds for each, of_seeds in found.items() if len(of_seeds) > 1}
    return dict(sorted(several.items(), key=lambda each: str(each[0])))


def ranking_pieces() -> Iterator[Piece]:
    """Of the comparison of proxies, proxy by proxy."""
    for measure, most in PROXIES:
        for candidate in retrained(json.loads(FEEDBACK.read_text()).values()):
            for half in HALVES:
                yield Piece(candidate, half, 0, measure, most)


def grid_pieces() -> Iterator[Piece]:
    """Of the first rung, both ways round; what follows of halving depends on what they say."""
    for candidate in tried():
        for half in HALVES:
            yield Piece(candidate, half, 0, MEASURES[RUNGS[0].budget], RUNGS[0].budget)


def imbalance_pieces() -> Iterator[Piece]:
    """Of the study over the imbalance factor, factor by factor."""
    for factor in FACTORS:
        for candidate in (None, *(plain(1.5, 0.9, scale) for scale in SCALES_OVER_IMBALANCE)):
            yield from crossed(factor, candidate)


def blend_pieces() -> Iterator[Piece]:
    """Of scales by bin, and of fewer images; the sets are those of other pieces."""
    for seed in FINAL_SEEDS:
        for candidate in (DEFAULT, plain(1.5, 0.9, 0.0), *BLENDS, FEWER):
            yield Piece(candidate, seed % 2, seed)


Values = Sequence[float]


def rank_correlation(pairs: Sequence[tuple[Values, Values]]) -> dict[str, Any]:
    """Spearman's, the mean of several pairs of rankings of the same candidates.

    Args:
        pairs: Two values of each candidate, [C] and [C].

    Returns:
        `mean`, and `low` and `high` of the 95 % interval of a bootstrap over the candidates.
    """
    ranked = np.asarray(pairs)  # [P, 2, C]
    number = ranked.shape[-1]

    def correlation(rows: NDArray[np.int64]) -> float:
        return float(np.mean([spearmanr(*pair[:, rows]).statistic for pair in ranked]))

    rng = np.random.default_rng(0)
    drawn = rng.integers(number, size=(BOOTSTRAPS, number))
    found = [correlation(rows) for rows in drawn]
    low, high = np.nanquantile(found, [0.025, 0.975])  # nan: one candidate, drawn again and again
    of_all = correlation(np.arange(number, dtype=np.int64))
    return {"mean": of_all, "low": float(low), "high": float(high), "candidates": number}


def ranking(study: Study) -> dict[str, Any]:
    """How each proxy ranks candidates that were retrained in full, by macro and by few.

    A proxy is read on one half of the validation images, then on the other, and compared with the
    means over seeds of the full retrainings. `full, another seed` is how the retrainings of two
    seeds rank the candidates: what noise alone leaves of a correlation of single trainings.
    """
    truth = retrained(json.loads(FEEDBACK.read_text()).values())
    found: dict[str, Any] = {}
    for name, (key, classes) in {
        "macro": ("overall", None),
        "few": ("few", rare_classes()),
    }.items():
        of_seeds = [[own[seed][key] for own in truth.values()] for seed in (0, 1)]
        means = [float(np.mean([each[key] for each in own.values()])) for own in truth.values()]
        told = {"full, another seed": rank_correlation([(of_seeds[0], of_seeds[1])])}
        values = {}
        for measure, most in PROXIES:
            proxy = f"{measure}, {most} a class"
            values[proxy] = [
                [
                    mean(study.recalls(Piece(each, half, 0, measure, most))["chosen"], classes)
                    for each in truth
                ]
                for half in HALVES
            ]
            told[proxy] = rank_correlation([(own, means) for own in values[proxy]])
        found[name] = told
        found[f"{name} of each"] = {
            str(each): {
                "full": round(means[row], 4),
                **{proxy: round(float(np.mean(v, axis=0)[row]), 4) for proxy, v in values.items()},
            }
            for row, each in enumerate(truth)
        }
    return found


def rare_classes() -> list[int]:
    """The three classes with the fewest images at every factor: Fashion-LT's bin few."""
    meta = place_at(100).meta
    return [label for label, name in enumerate(meta.class_names) if meta.bins[name] == "few"]


COLUMNS: Mapping[str, Callable[[], list[int] | None]] = {
    "macro": lambda: None,
    "few": rare_classes,
}
"""What is told of recalls, and of which classes it is the mean; None is all of them."""


def halved(study: Study, half: int) -> list[list[tuple[Candidate, float]]]:
    """Successive halving by one half of the validation images; the rungs, the best first."""

    def value(candidate: Candidate, budget: int) -> float:
        measure = MEASURES[budget]
        if measure == "full":
            pieces = [Piece(candidate, half, seed) for seed in FINAL_SEEDS]
        else:
            pieces = [Piece(candidate, half, 0, measure, budget)]
        return float(np.mean([mean(study.recalls(piece)["chosen"]) for piece in pieces]))

    return successive_halving(tried(), RUNGS, value)


def grid(study: Study) -> dict[str, Any]:
    """What the proxy of the first rung says of each candidate on each half, macro and few."""
    rung = RUNGS[0]
    found = {}
    for candidate in tried():
        pieces = [Piece(candidate, h, 0, MEASURES[rung.budget], rung.budget) for h in HALVES]
        told = [study.recalls(piece)["chosen"] for piece in pieces]
        found[str(candidate)] = {
            name: [round(mean(each, classes()), 4) for each in told]
            for name, classes in COLUMNS.items()
        }
    return dict(sorted(found.items(), key=lambda each: -sum(each[1]["macro"])))


def halving(study: Study) -> dict[str, Any]:
    """Both ways round: the rungs, and what the winner is worth on the half that did not choose.

    Differences are within a seed of the trainings, mean and 95 % interval.
    """
    found: dict[str, Any] = {"grid": len(GRID), "tries": NUM_TRIED, "ways": []}
    for half in HALVES:
        rungs = halved(study, half)
        winner = rungs[-1][0][0]
        found["ways"].append(
            {
                "chosen_on": half,
                "rungs": [
                    {
                        "images": rung.budget,
                        "measure": MEASURES[rung.budget],
                        "candidates": {str(each): round(value, 4) for each, value in ranked},
                    }
                    for rung, ranked in zip(RUNGS, rungs, strict=True)
                ],
                "winner": str(winner),
                "reported": {
                    "winner": over_seeds(study, winner, half),
                    "over default": over_seeds(study, winner, half, DEFAULT),
                    "over unguided": over_seeds(study, winner, half, plain(1.5, 0.9, 0.0)),
                    "over control": over_seeds(study, winner, half, None),
                },
            }
        )
    return found


NOTHING = object()


def over_seeds(
    study: Study, candidate: Candidate | None, half: int, other: object = NOTHING
) -> dict[str, Any]:
    """Macro and few on the half that did not choose, or differences from another candidate."""
    found = {}
    for name, classes in COLUMNS.items():
        values = [
            mean(study.recalls(Piece(candidate, half, seed))["other"], classes())
            for seed in FINAL_SEEDS
        ]
        if other is not NOTHING:
            assert other is None or isinstance(other, Candidate)
            beside = [Piece(other, half, seed) for seed in FINAL_SEEDS]
            values = [
                own - mean(study.recalls(piece)["other"], classes())
                for own, piece in zip(values, beside, strict=True)
            ]
        found[name] = interval(values)
    return found


def blends(study: Study) -> dict[str, Any]:
    """Each scale by bin, over the default; the seeds' halves take turns."""
    found = {}
    for candidate in (plain(1.5, 0.9, 0.0), *BLENDS, FEWER):
        of_candidate = {}
        for name, classes in COLUMNS.items():
            differences = [
                _over_default(study, candidate, seed % 2, seed, classes()) for seed in FINAL_SEEDS
            ]
            of_candidate[name] = interval(differences)
        found[str(candidate)] = of_candidate
    return found


def _over_default(
    study: Study, candidate: Candidate, half: int, seed: int, classes: Sequence[int] | None
) -> float:
    own, default = (
        mean(study.recalls(Piece(each, half, seed))["other"], classes)
        for each in (candidate, DEFAULT)
    )
    return own - default


def imbalance(study: Study) -> dict[str, Any]:
    """Macro and few over the scale at each factor, and without synthetic images."""
    found: dict[str, Any] = {}
    for factor in FACTORS:
        rows = {}
        for scale in (None, *SCALES_OVER_IMBALANCE):
            candidate = None if scale is None else plain(1.5, 0.9, scale)
            told = [study.recalls(piece)["other"] for piece in crossed(factor, candidate)]
            rows["control" if scale is None else f"{scale:g}"] = {
                name: interval([mean(each, classes()) for each in told])
                for name, classes in COLUMNS.items()
            }
        found[str(factor)] = {"real": list(place_at(factor).meta.counts["train"]), "scales": rows}
    return found


PARTS = {
    "ranking": (ranking_pieces, ranking),
    "grid": (grid_pieces, grid),
    "halving": (grid_pieces, halving),
    "imbalance": (imbalance_pieces, imbalance),
    "blends": (blend_pieces, blends),
}
"""Name -> its pieces in the order in which they are made, and what is said of them."""


def run(study: Study, part: str) -> Mapping[str, Any] | None:
    """Makes the pieces of a part and sums them up; None where the time did not suffice."""
    pieces, summed = PARTS[part]
    try:
        for piece in pieces():
            study.recalls(piece)
        return summed(study)
    except OutOfTime:
        return None


def run_all(study: Study, parts: Iterable[str]) -> dict[str, Any]:
    """Of each part that is complete what it says."""
    found = {part: run(study, part) for part in parts}
    return {part: told for part, told in found.items() if told is not None}
