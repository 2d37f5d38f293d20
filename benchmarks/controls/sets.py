"""The images that an arm learns from beside the real ones: drawn, chosen, real or of another kind.

Every class of a set has as many images as the data's parameters want of it (`Place.wanted`), so
that arms differ in nothing else. Drawn images are kept below `sets/` by what decides their pixels;
of a set of which more are wanted only those that are missing are drawn.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from benchmarks.controls.place import ROOT, UNUSED, Overrides, Place, locked
from fgds_core.assess.judge import load_judge
from fgds_core.classify.network import Classifier, load_classifier
from fgds_core.classify.predict import predict_logits
from fgds_core.data.cells import filling
from fgds_core.feedback.criterion import NOTHING
from fgds_core.feedback.registry import load_criterion
from fgds_core.files import sha256_file, sha256_tree, write_json
from fgds_core.images.dataset import ImageDataset
from fgds_core.stages.rounds import draw_in_rounds
from fgds_core.synthesis.finished import finished_part
from fgds_core.synthesis.models import load_models
from fgds_core.synthesis.part import write_part
from fgds_core.synthesis.plan import Part, plan_of
from fgds_core.synthesis.recipe import Recipe
from fgds_core.synthesis.record import part_path, read_sidecar
from fgds_core.synthesis.shards import read_synthetic, write_index
from tasks.identity.drawing import drawing_code, drawing_parameters, is_guided

BATCH_SIZE = 50
OWN_JUDGES = 3
JUDGES_SEED = 500_000  # far from those of what they judge


@dataclass(frozen=True)
class Made:
    """Images to learn from beside the real ones.

    Attributes:
        images: The images.
        table: What is known of each, row by row; None of images that were not drawn.
        identity: Digest of what decides them.
        seconds_per_image: Processor time of drawing one, with what was drawn and not chosen.
    """

    images: ImageDataset
    table: pa.Table | None
    identity: str
    seconds_per_image: float | None = None


@dataclass(frozen=True)
class Drawn:
    """Images of the generator.

    Attributes:
        changes: What differs from the parameters, by dotted path; `train_baseline` is the guide's.
        times: How many times as many as are wanted of each class.
        most: Of each class at most, for a look at a few; None is no limit.
        guide_seeds: So many classifiers of each kind that guides, each with a seed of its own, are
            a committee.
    """

    changes: Overrides = field(default_factory=dict)
    times: int = 1
    most: int | None = None
    guide_seeds: int = 1

    def made_by(self, place: Place) -> str:
        """What decides the images of every seed, as far as it is known before the guide is."""
        params = place.changed(self.changes)
        recipe = Recipe(params["generator"], params["synthesize"], 0)
        guide: list[object] = [params["train_baseline"] if is_guided(recipe.synthesize) else None]
        if guide[0] and (which := recipe.synthesize.guide) != "baseline":
            guide += [which, params["retrain"].training]
        if guide[0] and self.guide_seeds > 1:
            guide.append(self.guide_seeds)
        return "\n".join(map(str, (*_drawn_by(recipe), self._wanted(place, recipe), *guide)))

    def make(self, place: Place, seed: int) -> Made:
        """Draws what is missing."""
        params = place.changed({**self.changes, "seed": seed})
        recipe = Recipe(params["generator"], params["synthesize"], seed)
        num_seeds = self.guide_seeds if is_guided(recipe.synthesize) else 1
        guides = place.guides(params, seed, num_seeds)
        out, wanted = self._folder(place, recipe, guides), self._wanted(place, recipe)
        with locked(out):
            draw = _draw if recipe.synthesize.rounds == 1 else _draw_in_rounds
            seconds = draw(place, recipe, guides, out, wanted)
            images, table = read_synthetic(out)
        rows = list(range(len(images)))
        if not _is_whole(recipe):  # there may be more than are wanted
            indices, labels = table["index"].to_numpy(), images.labels.tolist()
            rows = [row for row, label in enumerate(labels) if indices[row] < wanted[label]]
        identity = f"{out.name}: {wanted}"
        return Made(images.select(rows), table.take(rows), identity, seconds)

    def _wanted(self, place: Place, recipe: Recipe) -> tuple[int, ...]:
        plan = plan_of(place.meta, recipe.synthesize)
        wanted = tuple(self.times * number for number in plan.wanted)
        return wanted if self.most is None else tuple(min(self.most, each) for each in wanted)

    def _folder(self, place: Place, recipe: Recipe, guides: Sequence[Path]) -> Path:
        guided_by = None
        if is_guided(recipe.synthesize):
            guided_by = " ".join(sha256_file(guide / "model.safetensors") for guide in guides)
        whole = self._wanted(place, recipe) if _is_whole(recipe) else None
        made_of = (*_drawn_by(recipe), guided_by, recipe.seed, whole)
        return place.folder / "sets" / place.identity(*made_of)


def _drawn_by(recipe: Recipe) -> tuple[object, ...]:
    """What decides images beside the seed, the real ones and the guide."""
    config, generator = recipe.synthesize, recipe.generator
    return (
        drawing_code(recipe),
        json.dumps(drawing_parameters(config), sort_keys=True),
        generator.model_dump_json(exclude_defaults=True),
        sha256_tree(ROOT / generator.path),
        config.target_per_group is not None,
        (config.rounds, config.round_quotas) if config.rounds > 1 else None,
    )


def _is_whole(recipe: Recipe) -> bool:
    """Whether images depend on how many there are, so that a set cannot grow."""
    config = recipe.synthesize
    return config.rounds > 1 or (is_guided(config) and config.feedback.startswith("exemplar"))


def _draw(
    place: Place, recipe: Recipe, guides: Sequence[Path], out: Path, wanted: Sequence[int]
) -> float | None:
    """Draws the images of each class that are not there; seconds of processor time an image."""
    meta, size = place.meta, recipe.synthesize.images_per_part
    cost_file = out / ".cost.json"
    cost = (
        json.loads(cost_file.read_text()) if cost_file.is_file() else {"seconds": 0, "images": 0}
    )
    cells = meta.cells if recipe.synthesize.target_per_group is not None else None
    records, present, missing = [], [0] * len(wanted), []
    for label, name in enumerate(meta.class_names):
        groups = tuple(islice(filling(cells[label]), max(wanted[label], 1))) if cells else ()
        number = 0
        while True:  # the parts that are there, each of the length it has
            record = read_sidecar(out, part_path(label, name, number))
            first = present[label]
            length = min(size, wanted[label] - first) if record is None else record.num_rows
            if length <= 0:
                break
            part = Part(label, name, number, first, length, groups[first : first + length])
            found = finished_part(part, out.name, out)
            if found is not None:
                records.append(found)
            else:
                missing.append(part)
            present[label] += length
            number += 1
    if missing:
        models = load_models(recipe, place.prepared, guides)
        for part in missing:
            started = time.process_time()
            records.append(write_part(part, recipe, models, out.name, out, batch_size=BATCH_SIZE))
            cost["seconds"] += time.process_time() - started
            cost["images"] += part.num_images
            write_json(cost_file, cost)
    write_index(
        out,
        records,
        class_names=meta.class_names,
        wanted=present,
        fingerprint=out.name,
        made_by={},
    )
    return cost["seconds"] / cost["images"] if cost["images"] else None


def _draw_in_rounds(
    place: Place, recipe: Recipe, guides: Sequence[Path], out: Path, wanted: Sequence[int]
) -> float | None:
    """Draws all rounds; seconds of processor time an image, with the trainings between rounds."""
    cost_file = out / ".cost.json"
    if not cost_file.is_file():
        started = time.process_time()
        training, retrain = place.recipe, place.params["retrain"]
        draw_in_rounds(
            place.prepared,
            guides,
            recipe,
            training,
            retrain,
            out,
            fingerprint=out.name,
            batch_size=BATCH_SIZE,
        )
        seconds = time.process_time() - started
        write_json(cost_file, {"seconds": seconds, "images": sum(wanted)})
    cost = json.loads(cost_file.read_text())
    return float(cost["seconds"] / cost["images"])


@dataclass(frozen=True)
class Best:
    """The best of more images, as many of each class as are wanted.

    Attributes:
        of: What to choose among.
        criterion: What is best, seen by the baseline; none takes them as they come.
        judged: Whether images in which the judge sees another class come last.
        least: Whether the smallest values are best, in place of the largest.
        own_judge: Whether the judge has learned from the data's real images alone: a committee of
            controls with seeds of their own. Otherwise it is the one that the parameters name,
            which may have learned from others.
    """

    of: Drawn
    criterion: str
    judged: bool = True
    least: bool = False
    own_judge: bool = False

    def made_by(self, place: Place) -> str:
        """What decides the images of every seed."""
        return f"{self._rule}, of {self.of.made_by(place)}"

    @property
    def _rule(self) -> str:
        rule = f"best by {self.criterion}, judged {self.judged}"
        rule += ", least" if self.least else ""
        return f"{rule}, by {OWN_JUDGES} controls" if self.own_judge else rule

    def make(self, place: Place, seed: int) -> Made:
        """Chooses the images."""
        pool = self.of.make(place, seed)
        assert pool.table is not None
        images = pool.images
        values = torch.zeros(len(images))  # [M]
        if self.criterion != "none":
            guide = load_classifier(place.guide(place.changed({"seed": seed}), seed))
            values = criterion_of(guide, images, self.criterion)
        if self.least:
            values = -values
        if self.judged:
            judge = own_judge(place) if self.own_judge else judge_of(place)
            wrong = judge.argmax_of(images) != images.labels
            values = values - 1e6 * wrong
        groups = pool.table["group"].to_pylist()
        cells: dict[tuple[int, Any], list[int]] = {}
        for row, label in enumerate(images.labels.tolist()):
            group = groups[row] if images.groups is not None else None
            cells.setdefault((label, group), []).append(row)
        rows = [
            row
            for members in cells.values()
            for row in sorted(members, key=lambda row: -float(values[row]))[
                : round(len(members) / self.of.times)
            ]
        ]
        rows.sort()
        made_by = f"{self._rule}, of {pool.identity}"
        per_image = pool.seconds_per_image
        return Made(
            images.select(rows),
            pool.table.take(rows),
            made_by,
            None if per_image is None else per_image * self.of.times,
        )


@dataclass(frozen=True)
class MoreReal:
    """Real images of no split in place of synthetic ones: the ceiling."""

    def made_by(self, place: Place) -> str:
        """What decides the images."""
        return f"real images: {sha256_file(Path(place.params['data'].root) / UNUSED)}"

    def make(self, place: Place, seed: int) -> Made:
        """Takes the first of each class, or of each class in each group."""
        plan = plan_of(place.meta, place.params["synthesize"])
        images, cells = place.unused, place.meta.cells
        by_group = place.params["synthesize"].target_per_group is not None
        left: dict[tuple[int, str | None], int] = {}
        for label, wanted in enumerate(plan.wanted):
            if by_group and cells is not None:
                for group in islice(filling(cells[label]), wanted):
                    left[label, group] = left.get((label, group), 0) + 1
            else:
                left[label, None] = wanted
        rows = []
        for row, label in enumerate(images.labels.tolist()):
            key = (label, images.groups[row] if by_group and images.groups else None)
            if left.get(key, 0) > 0:
                left[key] -= 1
                rows.append(row)
        if short := {key: number for key, number in left.items() if number}:
            raise SystemExit(f"there are too few unused real images: {short} are missing")
        made_by = f"unused real images: {sha256_file(place.folder / 'unused' / 'train.parquet')}"
        return Made(images.select(rows), None, made_by)


def criterion_of(guide: Classifier, images: ImageDataset, name: str) -> torch.Tensor:
    """A criterion of each image, [M], where the classifier guides."""
    from fgds_core.classify.predict import predictions
    from fgds_core.feedback.criterion import Seen

    parts = [torch.cat(each) for each in zip(*predictions(guide, images), strict=True)]
    return load_criterion(name)(Seen(*parts), images.labels, NOTHING)


@dataclass(frozen=True)
class Judge:
    """Classifiers that had no part in the drawing."""

    classifiers: Sequence[Classifier]

    def argmax_of(self, images: ImageDataset) -> torch.Tensor:
        """The class that they see in each image by their mean probability, [M]."""
        seen = [predict_logits(each, images).softmax(dim=-1) for each in self.classifiers]
        return torch.stack(seen).mean(dim=0).argmax(dim=-1)


def own_judge(place: Place) -> Judge:
    """Controls that guide nothing: what the real images of the data alone can tell."""
    params = place.changed({"synthesize.guide": "control"})
    return Judge([load_classifier(each) for each in place.guides(params, JUDGES_SEED, OWN_JUDGES)])


def judge_of(place: Place) -> Judge:
    """The judge that the parameters name."""
    return _judge(place.params["assess"].judge, place.meta.class_names)


@cache
def _judge(folder: str, class_names: tuple[str, ...]) -> Judge:
    return Judge((load_judge(ROOT / folder, class_names, "cpu"),))
