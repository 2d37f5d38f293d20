"""What the last stages need is checked before the first one runs, whichever is started."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from micro import MICRO, ROOT, set_params, write_pictures

from fgds_core.data.config import FolderData, SplitFolders, SplitFractions
from fgds_core.data.meta import SPLITS, Meta, write_meta
from fgds_core.errors import InputError
from flows import repro
from flows.cli import inputs, stage
from flows.cli.inputs import CHECKED, check_inputs, class_names
from flows.cli.params import read_params
from flows.synth_pipeline import stage_flow

BEFORE = ("synth_pipeline", "prepare", "train_baseline", "train_control", "synthesize")


@pytest.fixture
def place(tmp_path: Path, tiny_unclip: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with pictures, a generator of its own, and parameters for both."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(CHECKED, raising=False)
    shutil.copyfile(ROOT / "params.yaml", "params.yaml")
    shutil.copytree(tiny_unclip, "generator")
    set_params(tmp_path, {**MICRO, "generator": {"path": "generator"}})
    write_pictures(tmp_path / "assets" / "pictures")
    return tmp_path


def params(place: Path, **changes: dict[str, Any]) -> dict[str, Any]:
    set_params(place, changes)
    return read_params()


@pytest.mark.parametrize("name", [*BEFORE, "assess"])
def test_what_is_whole_passes(place: Path, name: str) -> None:
    check_inputs(params(place), name)


def judge(path: str) -> dict[str, str]:
    """The section of a judge that is a classifier."""
    return {"kind": "classifier", "path": path}


WRONG: dict[str, tuple[dict[str, dict[str, Any]], str]] = {
    "a generator that is nowhere": ({"generator": {"path": "no/such/folder"}}, "no/such/folder"),
    "a folder of something else": ({"generator": {"path": "assets"}}, "generator.path: assets"),
    "another kind": (
        {
            "generator": {"kind": "text-to-image"},
            "synthesize": {"conditioning": "text"},
            "assess": {"features": "classifier"},
        },
        "generator.kind text-to-image",
    ),
    "a revision of a folder": ({"generator": {"revision": "main"}}, "generator.revision is main"),
    "a variant of nothing": ({"generator": {"variant": "fp16"}}, "generator.variant is fp16"),
    "a size that is no multiple": (
        {"generator": {"image_size": 17}},
        "generator.image_size is 17",
    ),
    "a tiny decoder that is none": (
        {"generator": {"tiny_decoder": "generator/vae"}},
        "generator.tiny_decoder",
    ),
    "a solver of flows": (
        {"synthesize": {"scheduler": "DDIMScheduler", "num_inference_steps": 1}},
        "synthesize.scheduler DDIMScheduler",
    ),
    "a judge that is nowhere": ({"judge": judge("nowhere")}, "judge.path: nowhere"),
    "a judge that is a generator": ({"judge": judge("generator")}, "judge.path"),
    "a judge of other classes": (
        {"judge": judge(str(ROOT / "assets" / "judge"))},
        "knows 10 classes.*the data has 3: 'cat', 'dog', 'owl'.*null",
    ),
    "a judge that reads, of no CLIP model": (
        {"judge": {"kind": "clip", "path": "generator/unet"}},
        "judge.path: generator/unet/config.json is no configuration of a CLIP model",
    ),
    "a judge that reads, of a generator with half a CLIP model": (
        {"judge": {"kind": "clip", "path": None}},
        "judge.path: null is generator.path: .*has no CLIP model whose images and texts",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_found_before_any_stage(place: Path, name: str) -> None:
    changes, message = WRONG[name]
    given = params(place, **changes)
    write_meta(
        place / "data" / "prepared",
        Meta(
            class_names=("cat", "dog", "owl"),
            image_size=8,
            counts=dict.fromkeys(SPLITS, (1, 1, 1)),
            bins={},
            groups=None,
            duplicates={},
            content_sha256={},
        ),
    )
    for first in BEFORE:
        with pytest.raises(InputError, match=message):
            check_inputs(given, first)


def test_raw_data_are_needed_by_the_first_stage_alone(place: Path) -> None:
    given = params(place, data={"root": "assets/picture"})
    for name in ("synth_pipeline", "prepare"):
        with pytest.raises(InputError, match=r"data\.root: the folder assets/picture does not"):
            check_inputs(given, name)
    check_inputs(given, "train_baseline")
    (place / "assets" / "picture").write_text("")
    with pytest.raises(InputError, match="is not a folder"):
        check_inputs(given, "prepare")


def test_inception_weights_are_looked_for(place: Path) -> None:
    given = params(place, assess={"features": "inception", "inception_weights": "none"})
    for name in (*BEFORE, "assess"):
        with pytest.raises(InputError, match=r"assess\.inception_weights"):
            check_inputs(given, name)


def test_noise_beyond_what_the_generator_knows_is_refused(place: Path) -> None:
    path = place / "generator" / "image_noising_scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_train_timesteps": 10}))
    check_inputs(params(place, synthesize={"noise_level": 9}))
    with pytest.raises(InputError, match=r"synthesize\.noise_level is 10"):
        check_inputs(params(place, synthesize={"noise_level": 10}))


@pytest.mark.parametrize(
    "changes",
    [
        {"beta_schedule": "mine"},
        {"prediction_type": "flux"},
        {"timestep_spacing": "mine"},
        {"rescale_betas_zero_snr": True, "prediction_type": "epsilon"},
    ],
)
def test_a_schedule_that_cannot_be_solved_is_refused(place: Path, changes: dict[str, Any]) -> None:
    path = place / "generator" / "scheduler" / "scheduler_config.json"
    spacing = {"timestep_spacing": "trailing"}
    path.write_text(json.dumps({**json.loads(path.read_text()), **spacing, **changes}))
    check_inputs(params(place), dry=True)  # which tries no solver
    with pytest.raises(InputError, match="schedule"):
        check_inputs(params(place))


def test_stages_after_drawing_need_no_generator(place: Path) -> None:
    given = params(place, generator={"path": "gone"}, data={"root": "gone"})
    for name in ("retrain", "report"):
        check_inputs(given, name)
    check_inputs(params(place, assess={"features": "classifier"}), "assess")


def test_a_model_of_the_hub_is_left_to_loading_and_said(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    given = params(place, generator={"path": "owner/name"})
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    check_inputs(given)
    assert "generator.path: owner/name is on the hub" in capsys.readouterr().err
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(place / "cache"))
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set"):
        check_inputs(given)


def test_a_job_checks_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = params(place, generator={"path": "gone"})
    monkeypatch.setenv(CHECKED, "1")
    check_inputs(given)


@pytest.mark.parametrize("arguments", [[], ["--dry-run"]])
def test_a_stage_checks_before_it_runs(
    place: Path,
    arguments: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    params(place, judge=judge("nowhere"))
    monkeypatch.setattr("sys.argv", ["stage", *arguments])
    for run, name in (
        (stage.run_stage, "prepare"),
        (stage.run_stage, "train_baseline"),
        (stage.run_pipeline, "synth_pipeline"),
    ):
        flow = stage_flow(name)
        monkeypatch.setattr(stage, "guarded", lambda run: pytest.fail("it ran"))
        if name == "synth_pipeline" and not arguments:
            continue  # its flow checks, for deployments too
        with pytest.raises(SystemExit) as left:
            run(flow, "")
        said = capsys.readouterr()
        assert left.value.code == 2
        assert "error: judge.path: nowhere does not exist" in said.err
        assert not said.out


def test_the_whole_job_checks_before_its_first_stage(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from contextlib import nullcontext

    params(place, judge=judge("nowhere"))
    monkeypatch.setattr("sys.argv", ["repro"])
    monkeypatch.setattr(repro, "prefect_server", lambda wait: nullcontext())
    monkeypatch.setattr("tasks.identity.dvc.is_up_to_date", lambda: False)
    monkeypatch.setattr("tasks.identity.dvc.reproduce", lambda: pytest.fail("it ran"))
    assert repro.main() == 2
    assert "judge.path: nowhere" in capsys.readouterr().err


def folders(root: Path, *names: str) -> None:
    for name in names:
        (root / name).mkdir(parents=True)


def test_class_names_are_those_of_folders(tmp_path: Path) -> None:
    left_out = (".hidden", "__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "#recycle")
    folders(tmp_path / "train", "owl", "cat", "$ and @", "@home", "__x", "@e\u0301", *left_out)
    (tmp_path / "train" / "notes.txt").write_text("")
    split = SplitFolders(by="folders", train="train", validation="v", test="t")
    data = FolderData(kind="folder", root=str(tmp_path), split=split, groups=False)
    known = ("$ and @", "@home", "@\u00e9", "__x", "cat", "owl")
    assert class_names(data) == known
    drawn = SplitFractions(by="fractions", validation=0.1, test=0.1, seed=0)
    whole = data.model_copy(update={"split": drawn, "root": str(tmp_path / "train")})
    assert class_names(whole) == known
    assert class_names(whole.model_copy(update={"root": str(tmp_path / "none")})) is None


def test_class_names_are_those_of_tables_or_unknown(place: Path) -> None:
    data = read_params()["data"]
    assert class_names(data) == ("cat", "dog", "owl")
    assert class_names(data.model_copy(update={"class_names": ["a", "b"]})) == ("a", "b")
    assert class_names(data.model_copy(update={"train": "none.parquet"})) is None
    pq.write_table(pa.table({"label": [0]}), place / "assets" / "pictures" / "bare.parquet")
    assert class_names(data.model_copy(update={"train": "bare.parquet"})) is None


def test_accents_of_a_judge_are_compared_as_letters(place: Path, tiny_classifier: Path) -> None:
    folder = Path(shutil.copytree(tiny_classifier, place / "judge"))
    config = json.loads((folder / "config.json").read_text())
    config |= {"class_names": ["caf\u00e9", "a", "b"], "bins": {}}
    (folder / "config.json").write_text(json.dumps(config))
    given = params(place, judge=judge("judge"))
    inputs.check_judge(given["judge"], given["generator"], ["cafe\u0301", "a", "b"])
    with pytest.raises(InputError, match="null"):
        inputs.check_judge(given["judge"], given["generator"], ["cafe", "a", "b"])


@pytest.mark.parametrize("guide", ["baseline", "control", "final"])
def test_a_classifier_of_the_run_is_no_witness(
    place: Path, tiny_classifier: Path, guide: str
) -> None:
    shutil.copytree(tiny_classifier, place / "models" / guide)
    given = params(place, judge=judge(f"models/{guide}"))
    with pytest.raises(InputError, match=r"judge\.path: .*may guide.*cross_fitted"):
        inputs.check_judge(given["judge"], given["generator"], None)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": 5},
        {"model": "no_such_network"},
        {"input_size": "32"},
        {"input_size": -1},
        {"mean": [0.5, 0.5]},
        {"std": [0, 1, 1]},
        {"model_kwargs": []},
        {"model_kwargs": {"pretrained_cfg_overlay": {"url": "https://example.org/x.bin"}}},
        {"model_kwargs": {}},  # which its weights do not fit
        {"real_counts": [1]},
        {"temperature": 0},
    ],
)
def test_a_judge_that_cannot_judge_is_found_before_training(
    place: Path, tiny_classifier: Path, changes: dict[str, Any]
) -> None:
    folder = Path(shutil.copytree(tiny_classifier, place / "judge"))
    given = params(place, judge=judge("judge"))
    check_inputs(given, "prepare")
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(InputError, match=r"judge\.path: .*judge/.*null") as caught:
        check_inputs(given, "prepare")
    assert "\n" not in str(caught.value)


def test_checking_is_no_code_of_a_stage() -> None:
    assert "flows/cli/inputs.py" not in (ROOT / "dvc.yaml").read_text()
