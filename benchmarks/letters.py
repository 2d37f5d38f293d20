"""The remedy on own pictures: letters from fonts, which the embedded generator does not know.

    python -m benchmarks.letters               # renders, runs the pipeline, writes the result
    python -m benchmarks.letters --only write  # renders pictures and parameters alone

Twelve letters are rendered from the fonts that matplotlib brings, each at a random size, place,
slant and in random colours: long-tailed training images, as many validation images of each letter
and as many test images. The pipeline runs on them without an adapter, where the generator check
has to refuse, and with one; each command is the one a user types.
Other ways of drawing and training (`TRIES`) are compared on validation images; the test images are
looked at once, with the default parameters.
`letters.json` among the results has the check's word on each letter before and after, the gain
over the matched control, how many synthetic images may be copies, the tries, and the seconds. Half
an hour of one idle core; what is done is kept, and the same command goes on.
"""

import argparse
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parents[1]
PLACE = Path(".runs/letters")
RESULT = ROOT / "benchmarks" / "results" / "letters.json"

LETTERS = "ABDEGHKMRSTX"
TRAIN = (150, 110, 80, 60, 44, 32, 24, 17, 13, 9, 7, 5)
VALIDATION, TEST = 40, 200
SIZE = 32
SPLITS = ("train", "validation", "test")

SANS_AND_SERIF = ("DejaVuSans", "DejaVuSerif", "STIXGeneral", "cmr10", "cmb10", "cmss10", "cmtt10")
"""How the names of the fonts begin that have these letters."""

OVERRIDES: dict[str, dict[str, Any]] = {
    "data": {
        "kind": "folder",
        "root": "letters",
        "groups": False,
        "split": {"by": "folders", "train": "train", "validation": "validation", "test": "test"},
    },
    "train_baseline": {"horizontal_flip": False},
    "judge": {"kind": "cross_fitted", "path": None, "folds": 2},
    "synthesize": {"target_per_class": 100, "rounds": 1, "guidance_scale": 3.0},
    "compute": {"threads": 1},
}
"""What differs from params.yaml: the data, the judge that any data have, one round, one thread."""

BEFORE = ("prepare", "judge", "train_baseline", "train_control")
CLASSIFIERS = ("baseline", "control", "final")

SHOWN = ("overall", "many", "medium", "few")
"""Of a classifier on validation images."""

UNGUIDED = {"feedback": "none"}
STRICT = {"min_agreement": 1.0, "max_redraws": 4}
LAST_LAYER = {"training": {"second_stage": "last_layer_real"}}

TRIES: dict[str, dict[str, dict[str, Any]]] = {
    "as by default": {},
    "without feedback": {"synthesize": UNGUIDED},
    "without feedback, guidance scale 8": {"synthesize": {**UNGUIDED, "guidance_scale": 8.0}},
    "the same, all letters learnt": {
        "adapt": {"classes": "all"},
        "synthesize": {**UNGUIDED, "guidance_scale": 8.0},
    },
    "guidance scale 8, what the judge doubts drawn again": {
        "synthesize": {**UNGUIDED, "guidance_scale": 8.0},
        "judge": STRICT,
    },
    "that, and the last layer on real images": {
        "synthesize": {**UNGUIDED, "guidance_scale": 8.0},
        "judge": STRICT,
        "retrain": LAST_LAYER,
    },
    "as by default, last layer on real images": {"retrain": LAST_LAYER},
}
"""What differs from the parameters that the test images are looked at with."""

REFUSED = 2
"""Exit status of a stage that refuses."""


def fonts() -> list[Path]:
    """Font files that matplotlib brings."""
    import matplotlib

    found = (Path(matplotlib.get_data_path()) / "fonts" / "ttf").glob("*.ttf")
    return sorted(
        path
        for path in found
        if path.name.startswith(SANS_AND_SERIF) and "Display" not in path.name  # has no letters
    )


def render(letter: str, files: list[Path], rng: np.random.Generator) -> Image.Image:
    """A letter in some font, size, place, slant and colours, light on dark or dark on light."""
    font = ImageFont.truetype(str(files[rng.integers(len(files))]), int(rng.integers(40, 60)))
    dark, light = rng.integers(0, 90, 3).tolist(), rng.integers(150, 256, 3).tolist()
    paper, ink = (dark, light) if rng.random() < 0.5 else (light, dark)
    side = 2 * SIZE
    picture = Image.new("RGB", (side, side), tuple(paper))
    place = (side / 2 + rng.uniform(-6, 6), side / 2 + rng.uniform(-6, 6))
    ImageDraw.Draw(picture).text(place, letter, fill=tuple(ink), font=font, anchor="mm")
    turned = picture.rotate(rng.uniform(-15, 15), Image.Resampling.BICUBIC, fillcolor=tuple(paper))
    return turned.resize((SIZE, SIZE), Image.Resampling.BOX)


def counts(split: str) -> tuple[int, ...]:
    """Images of each letter in a split."""
    return TRAIN if split == "train" else (VALIDATION if split == "validation" else TEST,) * 12


def write_letters(folder: Path) -> None:
    """Renders all splits as class folders, no picture twice."""
    files, seen = fonts(), set()
    for number, split in enumerate(SPLITS):
        for label, (letter, wanted) in enumerate(zip(LETTERS, counts(split), strict=True)):
            rng = np.random.default_rng([number, label])
            place = folder / split / letter
            place.mkdir(parents=True, exist_ok=True)
            written = 0
            while written < wanted:
                file = io.BytesIO()
                render(letter, files, rng).save(file, "PNG")
                if file.getvalue() in seen:
                    continue
                seen.add(file.getvalue())
                (place / f"{written:03d}.png").write_bytes(file.getvalue())
                written += 1


def write_params(path: Path, changes: Mapping[str, Mapping[str, Any]]) -> None:
    """The default parameters with these changes; a section `data` is another one altogether."""
    import yaml

    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    generator = Path(params["generator"]["path"])
    params["generator"]["path"] = os.path.relpath(ROOT / generator, path.parent)
    for section, values in changes.items():
        params[section] = dict(values) if section == "data" else {**params[section], **values}
    path.write_text(yaml.safe_dump(params, sort_keys=False))


def run(place: Path, stage: str, *, may_refuse: bool = False) -> bool:
    """Runs a stage as a user does; what is done already is not done again.

    Args:
        place: Of the run.
        stage: Its name.
        may_refuse: Whether it may end with the exit status of a refusal.

    Returns:
        Whether it ended well.
    """
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", f"flows.{stage}"]
    environment = {**os.environ, "PYTHONPATH": path}
    status = subprocess.run(command, cwd=place, env=environment, check=False).returncode
    if status and not (may_refuse and status == REFUSED):
        raise SystemExit(f"{stage} failed; the same command goes on where it stopped")
    return status == 0


def read(path: Path) -> Any:  # noqa: ANN401, JSON
    """What a JSON file holds."""
    return json.loads(path.read_text())


def said(place: Path) -> dict[str, dict[str, Any]]:
    """What the generator check says of each letter."""
    keys = ("can_draw", "reasons", "far", "variety", "seen", "recall")
    classes = read(place / "reports" / "ability.json")["classes"]
    return {each["name"]: {key: each[key] for key in keys} for each in classes}


def without(place: Path) -> dict[str, Any]:
    """What the check says of the generator as it is."""
    kept = place / "without.json"
    if not kept.exists():
        write_params(place / "params.yaml", OVERRIDES)
        for stage in BEFORE:
            run(place, stage)
        drawn = run(place, "synthesize", may_refuse=True)
        kept.write_text(json.dumps({"refused": not drawn, "check": said(place)}))
    return dict(read(kept))


def merged(*several: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Changes of parameters, the later ones above the earlier."""
    found: dict[str, dict[str, Any]] = {}
    for changes in several:
        for section, values in changes.items():
            found[section] = {**found.get(section, {}), **values}
    return found


ADAPTED: dict[str, dict[str, Any]] = {**OVERRIDES, "adapt": {"enabled": True}}


def params_of(name: str) -> dict[str, dict[str, Any]]:
    """The changes of parameters of a try."""
    changes = TRIES[name]
    keep = {"synthesize": {"cannot_draw": "keep", "unguided_twins": 0}}
    chosen = merged(ADAPTED, keep, changes)
    if "retrain" in changes:
        chosen["retrain"] = merged({"training": default_training()}, changes["retrain"])
    return chosen


def tried(place: Path) -> dict[str, Any]:
    """Accuracy on validation images of each try, and of the control."""
    kept = place / "tries.json"
    found: dict[str, Any] = read(kept) if kept.exists() else {}
    for name in TRIES:
        if name in found:
            continue
        write_params(place / "params.yaml", params_of(name))
        for stage in ("adapt", "synthesize", "retrain"):
            run(place, stage)
        shown = read(place / "reports" / "final" / "validation.json")
        found[name] = {key: round(shown[key], 4) for key in SHOWN}
        kept.write_text(json.dumps(found))
    control = read(place / "reports" / "control" / "validation.json")
    return {"control": {key: round(control[key], 4) for key in SHOWN}, **found}


def default_training() -> dict[str, Any]:
    """Keys of training that differ for the final classifier by default."""
    import yaml

    found: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
    return dict(found["retrain"]["training"])


def adapted(place: Path) -> dict[str, Any]:
    """What it says of one that has learnt, and what came of its images."""
    on = ADAPTED
    write_params(place / "params.yaml", on)
    run(place, "adapt")
    drawn = run(place, "synthesize", may_refuse=True)
    check = said(place)
    if not drawn:  # what is drawn all the same is worth knowing, too
        on = merged(on, {"synthesize": {"cannot_draw": "keep"}})
        write_params(place / "params.yaml", on)
        run(place, "synthesize")
    for stage in ("assess", "retrain", "report"):
        run(place, stage)
    reports = place / "reports"
    metrics = {name: read(reports / f"{name}.metrics.json") for name in CLASSIFIERS}
    return {
        "refused": not drawn,
        "check": check,
        "adapter": read(place / "models" / "adapter" / "adapter.json"),
        "verdict": read(reports / "verdict.json"),
        "copies": read(reports / "assess" / "measures.json")["copies"],
        "metrics": metrics,
    }


def measure(place: Path) -> dict[str, Any]:
    """All of it."""
    before, tries, after = without(place), tried(place), adapted(place)
    times = read(place / "reports" / "timing.json")["stages"]
    return {
        "letters": dict(zip(LETTERS, TRAIN, strict=True)),
        "validation_per_class": VALIDATION,
        "test_per_class": TEST,
        "overrides": OVERRIDES,
        "can_draw": {
            name: num_able(found) for name, found in (("before", before), ("after", after))
        },
        "before": before,
        "after": after,
        "tries": tries,
        "seconds": {stage: each["total_s"] for stage, each in times.items()},
    }


def num_able(found: Mapping[str, Any]) -> list[int]:
    """How many letters can be drawn, and of how many the check speaks."""
    return [sum(each["can_draw"] is True for each in found["check"].values()), len(found["check"])]


def main() -> None:
    """Renders, and runs the pipeline unless told otherwise."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=["write"], help="runs nothing")
    parser.add_argument("--place", type=Path, default=PLACE, help=f"folder of the run ({PLACE})")
    args = parser.parse_args()
    args.place.mkdir(parents=True, exist_ok=True)
    if not (args.place / "letters").exists():
        write_letters(args.place / "letters")
    if args.only == "write":
        write_params(args.place / "params.yaml", OVERRIDES)
    else:
        RESULT.write_text(json.dumps(measure(args.place), indent=2) + "\n")
        print(f"wrote {RESULT}")


if __name__ == "__main__":
    main()
