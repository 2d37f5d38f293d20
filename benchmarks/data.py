"""What a set of any number of images costs: memory of every stage, speed beside timm's own.

    python -m benchmarks.data                  # an hour; writes results/data.json
    python -m benchmarks.data --only peaks     # one piece; the others stay as they were
    python -m benchmarks.data --images 200 1600 --out /tmp/try.json        # a try

- peaks: most memory of each stage at 4,000 and at 32,000 training images of 256 px, each run as
  `python -m flows.<stage>`, with as many synthetic images as real ones.
- prepare: images a CPU second, two processes over one, bytes stored over those of the files.
- loader, train: images a second of our loader and training loop over timm's.
- probe: whether a classifier can tell real images from real ones stored as synthetic ones are.
- repro: work time of the default job over that of an earlier commit, both in fresh clones.
- before: what the code of that commit takes at the smaller size; for comparison, without gates.

A ratio is taken within one run, its contestants in turn. What was measured is kept in the work
folder piece by piece: the same command goes on after it was stopped.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import psutil
from ruamel.yaml import YAML

from benchmarks.experiments import RESULTS, write_json
from benchmarks.peaks import DEFINITION, Usage, measure
from benchmarks.pictures import (
    HELD_OUT,
    IMBALANCE,
    NUM_CLASSES,
    QUALITIES,
    SIZE,
    class_counts,
    folder_bytes,
    make_pictures,
    photographs,
)
from flows.cli.server import prefect_server

Found = TypeVar("Found")

ROOT = Path(__file__).parent.parent
RESULT = RESULTS / "data.json"
WORK = Path(tempfile.gettempdir()) / "fgds-data"

IMAGES = (4000, 32000)
"""Training images of the smaller and of the larger set."""

BEFORE = "b07058b"
"""The commit before images were read by row."""

STAGES = ("prepare", "train_baseline", "synthesize", "assess", "retrain", "report")
"""The stages with a gate; the control is run for the report and measured beside."""

OUTPUTS = {
    "prepare": ("data/prepared",),
    "judge": ("models/judge",),
    "train_baseline": ("models/baseline", "reports/baseline", "reports/baseline.json"),
    "train_control": ("models/control", "reports/control", "reports/control.json"),
    "synthesize": ("data/synthetic",),
    "assess": ("reports/assess", "reports/synthetic.json"),
    "retrain": ("models/final", "reports/final", "reports/final.json"),
    "report": (
        "reports/index.html",
        "reports/summary.csv",
        "reports/paired.csv",
        "reports/confusion_changes.csv",
    ),
}
"""All stages in their order, and what each leaves: removed before it is measured."""

SECTIONS: dict[str, dict[str, Any]] = {
    "prepare": {"image_size": SIZE, "format": "jpeg"},
    "train_baseline": {
        "model": "resnet10t",
        "model_kwargs": {"stem_width": 8, "channels": [8, 16, 32, 64]},
        "input_size": 64,
        "num_steps": 100,
        "batch_size": 64,
        "warmup_steps": 10,
        "eval_every": 50,
    },
    "synthesize": {
        "images_per_part": 500,
        "num_inference_steps": 2,
        "guidance_scale": 1.0,
        "feedback_every": 2,
    },
    "judge": {"kind": "cross_fitted", "path": None, "folds": 2},
    "compute": {"device": "cpu", "threads": 1, "workers": 1, "batch_size": 50},
}
"""What differs from params.yaml: photographs of 256 px, small networks, few steps."""

SECTIONS_BEFORE: dict[str, dict[str, Any]] = {
    **{name: values for name, values in SECTIONS.items() if name != "judge"},
    "prepare": {"image_size": SIZE},
    "synthesize": {**SECTIONS["synthesize"], "judge": None},
}

STAGES_BEFORE = ("prepare", "train_baseline")
"""Stages that are measured with the earlier code: the others need more memory and minutes."""

ROUNDS = 7
STEPS = 60
REPRO_ROUNDS = 2

IDLE_PERCENT = 5.0
IDLE_WAIT_S = 600.0

MOST_GB, GROWTH, SPARE_GB = 2.5, 1.10, 0.1
"""Gates of memory: the most of a stage, and what it may grow by from the smaller set on."""


# Gates -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gate:
    """What a figure has to be.

    Attributes:
        least: At least this; None is no such limit.
        most: At most this; None is no such limit.
    """

    least: float | None = None
    most: float | None = None

    def holds(self, value: float) -> bool:
        """Whether a figure keeps the gate."""
        return (self.least is None or value >= self.least) and (
            self.most is None or value <= self.most
        )

    def __str__(self) -> str:
        limits = [
            f"{sign} {limit:.4g}"
            for sign, limit in ((">=", self.least), ("<=", self.most))
            if limit is not None
        ]
        return " and ".join(limits)


SPEED_GATES = {
    "prepare_images_per_cpu_second": Gate(least=500),
    "prepare_speedup": Gate(least=1.7),
    "stored_over_source": Gate(most=1.3),
    "loader_over_folder": Gate(least=1.0),
    "train_over_timm": Gate(least=0.95),
    "repro_work_ratio": Gate(most=1.05),
}


def memory_gate(smaller: float | None) -> Gate:
    """The gate of a stage's peak in GB, given that of the smaller set; None for that one."""
    if smaller is None:
        return Gate(most=MOST_GB)
    return Gate(most=min(MOST_GB, GROWTH * smaller + SPARE_GB))


def judged(figures: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Each figure that has been measured with its gate and whether it held, by its dotted key."""
    found: dict[str, dict[str, Any]] = {}

    def note(key: str, value: float, gate: Gate) -> None:
        found[key] = {"value": value, "gate": str(gate), "held": gate.holds(value)}

    for stage, peaks in figures.get("peak_gb", {}).items():
        smaller = None
        for num_images, peak in sorted(peaks.items(), key=lambda item: int(item[0])):
            note(f"peak_gb.{stage}.{num_images}", peak, memory_gate(smaller))
            smaller = peak
    for key, gate in SPEED_GATES.items():
        if key in figures:
            note(key, figures[key], gate)
    if (probe := figures.get("encoding_probe_accuracy")) is not None:
        found["encoding_probe_accuracy"] = {
            "value": probe["accuracy"],
            "gate": "its 95 % interval holds chance, 0.5",
            "held": probe["low"] <= 0.5 <= probe["high"],
        }
    return found


# Workspaces --------------------------------------------------------------------------------------


def target(num_images: int) -> int:
    """The target of a class that makes as many synthetic images as there are real ones."""
    counts = class_counts(num_images)

    def missing(target: int) -> int:
        return sum(max(0, target - count) for count in counts)

    return next(target for target in range(1, num_images) if missing(target) >= num_images)


def make_workspace(
    folder: Path,
    pictures: Path,
    num_images: int,
    sections: Mapping[str, Mapping[str, Any]] = SECTIONS,
    root: Path = ROOT,
) -> Path:
    """Puts down parameters and the embedded generator; what stages have made there stays.

    Args:
        folder: The workspace.
        pictures: From `make_pictures`.
        num_images: Training images.
        sections: What differs from the parameters of `root`.
        root: The checkout whose code will run.
    """
    yaml = YAML()
    params = yaml.load((root / "params.yaml").read_text())
    for section, values in sections.items():
        params[section].update(values)
    params["data"] = {
        "kind": "folder",
        "root": str(pictures),
        "split": {"by": "folders", "train": "train", "validation": "val", "test": "test"},
        "groups": False,
    }
    params["synthesize"]["target_per_class"] = target(num_images)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "params.yaml").open("w") as file:
        yaml.dump(params, file)
    shutil.copytree(root / "assets", folder / "assets", dirs_exist_ok=True)
    return folder


def environment(root: Path = ROOT) -> dict[str, str]:
    """The environment of a process that runs the code of a checkout."""
    return os.environ | {"PYTHONPATH": str(root)}


def measure_stage(stage: str, workspace: Path, root: Path = ROOT) -> Usage:
    """Runs one stage as a user does, after what it had made before was taken away.

    Args:
        stage: Its name.
        workspace: From `make_workspace`, after the stages before it.
        root: The checkout whose code runs.
    """
    storage = workspace / ".prefect" / "storage"
    for path in (storage, *(workspace / name for name in OUTPUTS[stage])):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    return measure(
        [sys.executable, "-m", f"flows.{stage}"],
        cwd=workspace,
        env=environment(root) | {"PREFECT_RESULTS_LOCAL_STORAGE_PATH": str(storage)},
        log=workspace / f"{stage}.log",
    )


def say(text: str) -> None:
    """Tells a person how far it is; Prefect has loggers say nothing."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


# Pieces ------------------------------------------------------------------------------------------


class Bench:
    """What is measured with, and what was measured so far.

    Attributes:
        work: Folder of pictures, workspaces and finished pieces.
        images: Training images of the smaller and the larger set.
    """

    def __init__(self, work: Path, images: tuple[int, int]) -> None:
        self.work = work
        self.images = images
        self._file = work / f"pieces-{images[0]}-{images[1]}.json"
        self._pieces: dict[str, Any] = (
            json.loads(self._file.read_text()) if self._file.exists() else {}
        )

    def kept(self, name: str, measured: Callable[[], Found]) -> Found:
        """A piece that was measured before, or else is now; kept with the commit of the code."""
        if name not in self._pieces:
            say(f"measuring {name}")
            started = time.monotonic()
            value = measured()
            took = round(time.monotonic() - started, 1)
            self._pieces[name] = {"value": value, "commit": commit(), "took_s": took}
            write_json(self._file, self._pieces)
            say(f"{name}: {json.dumps(value)}")
        found: Found = self._pieces[name]["value"]
        return found

    def forget(self, piece: str) -> None:
        """Has a piece and its parts measured again."""
        self._pieces = {
            name: value
            for name, value in self._pieces.items()
            if name != piece and not name.startswith(f"{piece}.")
        }

    def value(self, name: str) -> dict[str, Any] | None:
        """What a piece gave; None if it was not measured."""
        found: dict[str, Any] | None = self._pieces.get(name, {}).get("value")
        return found

    def measured_at(self) -> dict[str, str]:
        """The commit of each piece."""
        return {name: piece["commit"] for name, piece in sorted(self._pieces.items())}

    def pictures(self, num_images: int) -> Path:
        """The folder of the pictures, made where it is not there."""
        archive, _ = photographs(self.work / "photographs")
        return make_pictures(self.work / "pictures", archive, num_images)

    def prepared(self, num_images: int) -> Path:
        """Prepared data of that many training images, those of the peaks where they are there."""
        workspace = self.work / f"workspace-{num_images}"
        if not (workspace / "data" / "prepared" / "meta.json").exists():
            make_workspace(workspace, self.pictures(num_images), num_images)
            with server(self.work):
                measure_stage("prepare", workspace)
        return workspace / "data" / "prepared"


def commit(root: Path = ROOT) -> str:
    """The commit of a checkout, with a plus where tracked files differ from it."""

    def git(*arguments: str) -> str:
        command = ["git", *arguments]
        return subprocess.run(
            command, cwd=root, check=True, capture_output=True, text=True
        ).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "*.py", "params.yaml")
    return git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")


@contextmanager
def server(work: Path) -> Iterator[str]:
    """One Prefect server for stages that run one after the other, as in `make repro`."""
    os.environ["PREFECT_HOME"] = str(work / "prefect")
    with prefect_server() as url:
        yield url


def wait_until_idle() -> float:
    """Waits until the processors have nothing to do, or ten minutes; returns percent in use."""
    started = time.monotonic()
    while (used := psutil.cpu_percent(interval=5)) > IDLE_PERCENT:
        if time.monotonic() - started > IDLE_WAIT_S:
            say(f"the processors are {used:.0f} % in use")
            break
        time.sleep(5)
    return float(used)


def measure_peaks(bench: Bench) -> None:
    """Every stage at both sizes, each kept on its own."""
    with server(bench.work):
        for num_images in bench.images:
            folder = bench.work / f"workspace-{num_images}"
            make_workspace(folder, bench.pictures(num_images), num_images)
            for stage in OUTPUTS:
                measured = partial(_stage_usage, stage, folder)
                bench.kept(f"peaks.{num_images}.{stage}", measured)


def _stage_usage(stage: str, workspace: Path) -> dict[str, Any]:
    return asdict(measure_stage(stage, workspace))


def measure_prepare(bench: Bench) -> dict[str, Any]:
    """The stage's function with one and with two processes in turn, each in a fresh process."""
    pictures = bench.pictures(bench.images[1])
    busy = wait_until_idle()
    runs: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    for processes in (1, 2, 2, 1, 1, 2):
        runs[processes].append(_prepare_usage(bench.work, pictures, processes))
    pairs = zip(runs[1], runs[2], strict=True)
    return {
        "images_per_cpu_second": statistics.median(
            run["images"] / run["cpu_s"] for run in runs[2]
        ),
        "speedup": statistics.median(one["wall_s"] / two["wall_s"] for one, two in pairs),
        "stored_over_source": runs[1][0]["stored_bytes"] / folder_bytes(pictures)[0],
        "runs": {str(processes): found for processes, found in runs.items()},
        "cpu_percent_in_use_before": busy,
    }


def _prepare_usage(work: Path, pictures: Path, processes: int) -> dict[str, float]:
    """What one run of the stage's function takes, without the imports before it."""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        code = f"prepare_once({str(pictures)!r}, {folder!r}, {processes})"
        log = Path(folder) / "log"
        usage = measure(
            [sys.executable, "-c", f"from benchmarks.data import prepare_once; {code}"],
            env=environment(),
            log=log,
            memory=False,
        )
        said = json.loads(log.read_text().splitlines()[-1])
    return {**said, "cpu_s": usage.cpu_s - said.pop("cpu_before_s")}


def prepare_once(pictures: str, out: str, processes: int) -> None:
    """Prepares pictures and prints what that took; run in a process of its own."""
    from fgds_core.data.config import FolderData, PrepareConfig
    from fgds_core.data.prepare import prepare

    data = FolderData.model_validate(
        {
            "kind": "folder",
            "root": pictures,
            "split": {"by": "folders", "train": "train", "validation": "val", "test": "test"},
            "groups": False,
        }
    )
    config = PrepareConfig.model_validate(
        {"interpolation": "bicubic", "crop": "center", **SECTIONS["prepare"]}
    )
    started, used = time.monotonic(), time.process_time()
    meta = prepare(data, config, Path(out) / "prepared", workers=processes)
    found = {
        "images": sum(map(sum, meta.counts.values())),
        "wall_s": time.monotonic() - started,
        "cpu_before_s": used,
        "stored_bytes": folder_bytes(Path(out) / "prepared")[0],
    }
    print(json.dumps(found))


def measure_loader(bench: Bench) -> dict[str, Any]:
    """Our loader from Parquet and timm's from a folder of the same files, in turn."""
    from benchmarks.loading import export, images_per_second, our_batches, take_turns, timm_loader
    from fgds_core.data.splits import read_prepared

    num_images, workers = bench.images[0], os.cpu_count() or 1
    images = read_prepared(bench.prepared(num_images), "train")
    folder = export(images, bench.work / f"exported-{num_images}")
    busy = wait_until_idle()
    contest = take_turns(
        {
            "ours": lambda: images_per_second(our_batches(images, workers), num_images),
            "timm": lambda: images_per_second(
                (x for x, _ in timm_loader(folder, SIZE, workers, flip=False)), num_images
            ),
        },
        ROUNDS,
    )
    return {
        "over_folder": contest.ratio("ours", "timm"),
        "workers": workers,
        "images": num_images,
        **contest.summary(),
        "cpu_percent_in_use_before": busy,
    }


def measure_train(bench: Bench) -> dict[str, Any]:
    """Our training loop and timm's, in turn."""
    from benchmarks.loading import (
        BATCH_SIZE,
        NETWORK,
        NETWORK_KWARGS,
        export,
        our_training,
        take_turns,
        timm_training,
    )
    from fgds_core.data.splits import read_prepared

    num_images, workers = bench.images[0], os.cpu_count() or 1
    prepared = bench.prepared(num_images)
    train, val = read_prepared(prepared, "train"), read_prepared(prepared, "val")
    few = val.select(range(min(len(val), BATCH_SIZE)))
    folder = export(train, bench.work / f"exported-{num_images}")
    steps = min(STEPS, num_images // BATCH_SIZE)
    busy = wait_until_idle()
    contest = take_turns(
        {
            "ours": lambda: our_training(train, few, SIZE, workers, steps),
            "timm": lambda: timm_training(folder, SIZE, workers, steps, len(train.class_names)),
        },
        ROUNDS - 2,
    )
    return {
        "over_timm": contest.ratio("ours", "timm"),
        "network": {"model": NETWORK, **NETWORK_KWARGS, "input_size": SIZE},
        "batch_size": BATCH_SIZE,
        "steps": steps,
        "workers": workers,
        **contest.summary(),
        "cpu_percent_in_use_before": busy,
    }


def measure_probe(bench: Bench) -> dict[str, Any]:
    """Real images as stored beside real images stored as synthetic ones are; and otherwise."""
    from benchmarks.probe import two_ways

    num_images = bench.images[0]
    return two_ways(bench.prepared(num_images), bench.pictures(num_images) / "train")


def measure_repro(bench: Bench) -> dict[str, Any]:
    """The default job in fresh clones of both commits, in turn, in the order A B B A."""
    now = commit().rstrip("+")
    seconds: dict[str, list[float]] = {"before": [], "now": []}
    stages: dict[str, list[dict[str, float]]] = {"before": [], "now": []}
    commits = {"before": BEFORE, "now": now}
    for number in range(REPRO_ROUNDS):
        names = list(commits)
        for name in names if number % 2 == 0 else names[::-1]:
            taken = bench.kept(
                f"repro.{number}.{name}", partial(work_seconds, bench.work, commits[name])
            )
            seconds[name].append(sum(taken.values()))
            stages[name].append(taken)
    pairs = zip(seconds["now"], seconds["before"], strict=True)
    return {
        "work_ratio": statistics.median(after / before for after, before in pairs),
        "work_s": seconds,
        "stages": stages,
        "commits": commits,
    }


def clone(work: Path, revision: str) -> Path:
    """A fresh clone of this repository at a commit."""
    folder = work / "clones" / revision
    shutil.rmtree(folder, ignore_errors=True)
    for command in (
        ["git", "clone", "--quiet", "--no-checkout", str(ROOT), str(folder)],
        ["git", "-C", str(folder), "checkout", "--quiet", revision],
    ):
        subprocess.run(command, check=True)
    return folder


def work_seconds(work: Path, revision: str) -> dict[str, float]:
    """Seconds of work of each stage of the default job, in a fresh clone of a commit."""
    folder = clone(work, revision)
    env = {**environment(folder), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    env.pop("PREFECT_HOME", None)
    wait_until_idle()
    for command in ("prefect server database upgrade --yes", "flows.repro"):
        subprocess.run(
            [sys.executable, "-m", *command.split()],
            cwd=folder,
            env=env,
            check=True,
            stdout=subprocess.DEVNULL,
        )
    timing = json.loads((folder / "reports" / "timing.json").read_text())
    return {name: times["work_s"] for name, times in timing["stages"].items()}


def measure_before(bench: Bench) -> dict[str, Any]:
    """Memory and speed of the earlier code at the smaller size."""
    num_images = bench.images[0]
    root = clone(bench.work, BEFORE)
    workspace = bench.work / f"workspace-before-{num_images}"
    pictures = bench.pictures(num_images)
    make_workspace(workspace, pictures, num_images, SECTIONS_BEFORE, root)
    peaks = {}
    with server(bench.work):
        for stage in STAGES_BEFORE:
            peaks[stage] = measure_stage(stage, workspace, root).peak_gb
    timing = json.loads((workspace / "reports" / "timing.json").read_text())
    prepare_s = timing["stages"]["prepare"]["work_s"]  # of one process
    source_bytes, images = folder_bytes(pictures)
    stored = sum(file.stat().st_size for file in (workspace / "data/prepared").glob("*.parquet"))
    return {
        "commit": BEFORE,
        "images": num_images,
        "peak_gb": peaks,
        "prepare_images_per_cpu_second": images / prepare_s,
        "stored_over_source": stored / source_bytes,
    }


PIECES: dict[str, Callable[[Bench], Any]] = {
    "peaks": measure_peaks,
    "prepare": measure_prepare,
    "loader": measure_loader,
    "train": measure_train,
    "probe": measure_probe,
    "repro": measure_repro,
    "before": measure_before,
}


# Results -----------------------------------------------------------------------------------------


def figures_of(bench: Bench) -> dict[str, Any]:
    """The figures of the table, as far as they have been measured."""
    figures: dict[str, Any] = {}
    peaks = {
        stage: {
            str(num_images): round(usage["peak_gb"], 3)
            for num_images in bench.images
            if (usage := bench.value(f"peaks.{num_images}.{stage}")) is not None
        }
        for stage in STAGES
    }
    if any(peaks.values()):
        figures["peak_gb"] = peaks
    taken = {
        "prepare_images_per_cpu_second": ("prepare", "images_per_cpu_second"),
        "prepare_speedup": ("prepare", "speedup"),
        "stored_over_source": ("prepare", "stored_over_source"),
        "loader_over_folder": ("loader", "over_folder"),
        "train_over_timm": ("train", "over_timm"),
        "repro_work_ratio": ("repro", "work_ratio"),
    }
    for key, (piece, name) in taken.items():
        if (found := bench.value(piece)) is not None:
            figures[key] = round(found[name], 3)
    if (found := bench.value("probe")) is not None:
        figures["encoding_probe_accuracy"] = found["as_synthetic"]
    return figures


def results_of(bench: Bench) -> dict[str, Any]:
    """All that is written: the figures by the table's keys, their gates, and how they came."""
    figures = figures_of(bench)
    details = {
        "peaks": {
            str(num_images): {
                stage: usage
                for stage in OUTPUTS
                if (usage := bench.value(f"peaks.{num_images}.{stage}")) is not None
            }
            for num_images in bench.images
        },
        **{name: bench.value(name) for name in PIECES if name not in ("peaks", "before")},
    }
    return {
        **figures,
        "gates": judged(figures),
        "before": bench.value("before"),
        "details": details,
        "definitions": {"peak_gb": DEFINITION},
        "pictures": {
            "source": photographs(bench.work / "photographs")[1],
            "pixels": SIZE,
            "jpeg_quality": f"{QUALITIES[0]} to {QUALITIES[1] - 1}, drawn for each file, 4:2:0",
            "changes": "random crop, flip, colours; a tint for each class",
            "classes": NUM_CLASSES,
            "largest_over_smallest_class": IMBALANCE,
            "validation_and_test": f"{HELD_OUT:.0%} of the training images each",
        },
        "machine": machine(),
        "measured_at": bench.measured_at(),
    }


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    from PIL import features

    from benchmarks.sampling import machine as processor

    packages = ("torchvision", "timm", "pillow", "pyarrow", "numpy", "prefect", "diffusers")
    return {
        **processor(),
        "cores": os.cpu_count(),
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS", "not set"),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": platform.system(),
        "packages": {name: version(name) for name in packages},
        "libjpeg_turbo": features.version("libjpeg_turbo"),
    }


def table(results: Mapping[str, Any]) -> str:
    """The gates in Markdown."""
    lines = ["| key | measured | gate | held |", "|---|---|---|---|"]
    for key, found in results["gates"].items():
        held = "yes" if found["held"] else "no"
        lines.append(f"| `{key}` | {found['value']:.4g} | {found['gate']} | {held} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures what was asked for and is not there yet, and writes after every piece."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=tuple(PIECES), default=list(PIECES))
    parser.add_argument("--again", action="store_true", help="measure anew what was kept")
    parser.add_argument("--work", type=Path, default=WORK, help="pictures, workspaces, pieces")
    parser.add_argument("--images", type=int, nargs=2, default=IMAGES, metavar=("FEW", "MANY"))
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args(arguments)
    if args.out == RESULT and tuple(args.images) != IMAGES:
        parser.error("other numbers of images are a try: name another file with --out")
    bench = Bench(args.work, tuple(args.images))
    for name in args.only:
        if args.again:
            bench.forget(name)
        if name == "peaks":
            measure_peaks(bench)
        else:
            bench.kept(name, partial(PIECES[name], bench))
        write_json(args.out, results_of(bench))
    print(table(results_of(bench)))


if __name__ == "__main__":
    main()
