"""`python -m flows.init`: what it tells, what it writes, and the three commands to a page."""

import io
import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from micro import MICRO, ROOT, set_params
from PIL import Image
from ruamel.yaml import YAML

from fgds_core.data.prepare import prepare
from fgds_core.images.formats import Encoding, encode_picture
from fgds_core.synthesis.plan import plan_of
from flows.cli.arguments import arguments_of
from flows.cli.params import read_params
from flows.cli.proposal import target
from flows.cli.stage import guarded
from flows.cli.written import TEMPLATE, params_text
from flows.init import main
from flows.synth_pipeline import STAGES, stage_flow
from tasks.workspace import FIRST

COUNTS = {"daisy": 24, "oxeye_daisy": 12, "rose": 6}


def pictures(folder: Path, counts: dict[str, int], side: int = 20, seed: int = 0) -> Path:
    """Noisy pictures whose shade tells the class."""
    rng = np.random.default_rng(seed)
    for label, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            shades = 60 * label + rng.integers(0, 90, (side, side, 3))
            data = encode_picture(Image.fromarray(shades.astype(np.uint8)), Encoding("jpeg", 90))
            (folder / name / f"{number}.jpg").write_bytes(data)
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    return tmp_path


def prepared(here):
    """What the stage prepare makes of what was written."""
    params = read_params()
    return prepare(params["data"], params["prepare"], here / "data" / "prepared", workers=0)


def test_it_tells_in_80_columns_and_writes_what_runs(here, capsys):
    pictures(here / "flowers", COUNTS)
    assert main(["flowers"]) == 0
    told = capsys.readouterr().out
    assert all(len(line) <= 80 for line in told.splitlines())
    said = " ".join(told.split())
    for words in (
        "Found: 3 class folders",
        "data.kind folder",
        "classes have fewer than 20 validation images",
        "20 x 20 pixels in the mean",
        "No image occurs twice",
        "THE GENERATOR: the embedded one is a demonstration. It knows ten kinds of",
        "Wrote params.yaml. Next:",
    ):
        assert words in said
    meta = prepared(here)
    assert meta.class_names == tuple(COUNTS)
    shown = [line.split() for line in told.splitlines() if line.startswith("rose ")]
    counts = [str(meta.counts[split][2]) for split in ("train", "val", "test")]
    assert shown == [["rose", *counts, meta.bins["rose"]]]


def test_what_is_written_is_commented_and_has_every_key(here):
    pictures(here / "flowers", COUNTS)
    assert main(["flowers"]) == 0
    text, template = Path("params.yaml").read_text(), TEMPLATE.read_text()
    assert text.count("#") > 0.8 * template.count("#")
    trees = [YAML(typ="safe").load(each) for each in (text, template)]
    for section, values in trees[1].items():
        if isinstance(values, dict) and section != "data":
            assert list(trees[0][section]) == list(values)
    assert all(len(line) <= 100 for line in text.splitlines())
    assert main(["flowers"]) == 0  # the same file is no obstacle
    assert Path("params.yaml").read_text() == text


def test_the_template_comes_back_where_nothing_changes():
    template = TEMPLATE.read_text()
    assert params_text({}, template) == template


def test_a_file_that_differs_is_asked_about(here, capsys, monkeypatch):
    pictures(here / "flowers", COUNTS)
    Path("params.yaml").write_text("mine: 1\n")
    assert main(["flowers"]) == 2
    assert "error: params.yaml is there and differs; replace it with --force" in (
        capsys.readouterr().err
    )
    assert Path("params.yaml").read_text() == "mine: 1\n"

    monkeypatch.setattr(
        "sys.stdin", type("Terminal", (io.StringIO,), {"isatty": lambda self: 1})()
    )
    for answer, status in (("", 2), ("n", 2), ("y", 0)):
        monkeypatch.setattr("builtins.input", lambda question, answer=answer: answer)
        assert main(["flowers"]) == status
    read_params()
    Path("params.yaml").write_text("mine: 1\n")
    assert main(["flowers", "--force"]) == 0
    assert main(["flowers", "--out", "other.yaml"]) == 0
    assert "cp other.yaml params.yaml" in capsys.readouterr().out
    assert Path("other.yaml").read_text() == Path("params.yaml").read_text()


def test_a_file_that_git_has_is_replaced_and_is_told_where_it_is(here, capsys):
    pictures(here / "flowers", COUNTS)
    Path("params.yaml").write_text("committed: 1\n")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run(["git", "add", "params.yaml"], check=True)
    subprocess.run([*git, "commit", "-qm", "As it was"], check=True)
    assert main(["flowers"]) == 0
    assert "`git checkout params.yaml` brings them back" in capsys.readouterr().out
    read_params()
    Path("params.yaml").write_text("mine: 1\n")  # which git does not have
    assert main(["flowers"]) == 2


def nico(here):
    root = here / "nico"
    for context in ("autumn", "dim"):
        counts = {"car": 90, "hot air balloon": 80 if context == "dim" else 20}
        pictures(root / "train" / context, counts, side=8, seed=len(context))
    (root / "dg_label_id_mapping.json").write_text(json.dumps({"car": 0, "hot air balloon": 1}))
    return "nico"


def imagenet_lt(here):
    root = pictures(here / "imagenet" / "train", {"n01440764": 30, "n01443537": 12}).parent
    lines = [
        f"train/{wnid}/{number}.jpg {label}"
        for label, (wnid, count) in enumerate((("n01440764", 30), ("n01443537", 12)))
        for number in range(count)
    ]
    for split, part in (("train", lines[6:-4]), ("val", lines[:3] + lines[-4:-2])):
        (root / f"ImageNet_LT_{split}.txt").write_text("\n".join([*part, ""]))
    (root / "ImageNet_LT_test.txt").write_text("\n".join([*lines[3:6], *lines[-2:], ""]))
    return "imagenet"


def waterbirds(here):
    root = pictures(here / "birds", {"001.A": 30, "002.B": 20})
    rows = [
        f"{number},{path.relative_to(root)},{int(path.parent.name == '002.B')},"
        f"{(0, 0, 0, 1, 2)[number % 5]},{number // 5 % 2},/o/x.jpg"
        for number, path in enumerate(sorted(root.rglob("*.jpg")))
    ]
    header = "img_id,img_filename,y,split,place,place_filename"
    (root / "metadata.csv").write_text("\n".join([header, *rows, ""]))
    return "birds"


def cifar(here):
    import pickle

    root = here / "cifar-10-batches-py"
    root.mkdir()
    names = ["ant", "bat"]
    (root / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    for number, name in enumerate([f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]):
        pixels = np.random.default_rng(number).integers(0, 256, (60, 3072), dtype=np.uint8)
        batch = {"data": pixels, "labels": [0, 1] * 30}
        (root / name).write_bytes(pickle.dumps(batch))
    return "cifar-10-batches-py"


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (nico, "contexts", ["2 groups", "none for training: 1 of 4 pairs"]),
        (imagenet_lt, "list", ["not an official list", "called n01440764"]),
        (waterbirds, "csv", ["landbird", "land, water"]),
        (cifar, "cifar", ["LDAM-DRW", "not the published files"]),
    ],
)
def test_published_sets_are_read_as_their_recipes_do(here, capsys, make, kind, words):
    assert main([make(here)]) == 0
    said = capsys.readouterr().out
    assert f"data.kind {kind}" in " ".join(said.split())
    for word in words:
        assert word in " ".join(said.split())
    params = read_params()
    assert params["data"].kind == kind
    meta = prepared(here)
    assert target(meta.counts["train"]) == params["synthesize"].target_per_class
    assert plan_of(meta, params["synthesize"]).parts
    assert (params["synthesize"].target_per_group is None) == (meta.groups is None)
    names_groups = "{group}" in params["generator"].prompts[0]
    assert names_groups == (meta.groups is not None)


def test_a_class_without_training_images_is_drawn_from_text(here, capsys):
    root = pictures(here / "set", {"ant": 20, "bat": 12, "cat": 4})
    files = sorted(path.relative_to(root) for path in root.rglob("*.jpg"))
    lines = [f"{path} {('ant', 'bat', 'cat').index(path.parent.name)}" for path in files]
    parts = {"test": [line for line in lines if line[0] == "c"] + lines[:4] + lines[20:24]}
    parts["train"] = [line for line in lines if line not in parts["test"]]
    for split, part in parts.items():
        (root / f"my_{split}.txt").write_text("\n".join([*part, ""]))
    (root / "classnames.txt").write_text("ant\nbat\ncat\n")
    assert main(["set"]) == 0
    assert "Without training images: cat." in capsys.readouterr().out
    params, meta = read_params(), prepared(here)
    assert params["synthesize"].conditioning == "text"
    assert {part.class_name for part in plan_of(meta, params["synthesize"]).parts} == {
        "bat",
        "cat",
    }


def test_an_image_in_two_splits_of_own_folders_is_left_out_of_training(here, capsys):
    for number, split in enumerate(("train", "val", "test")):
        pictures(here / "flowers" / split, {"daisy": 9, "rose": 5}, seed=number)
    copied = here / "flowers" / "train" / "daisy" / "copy.jpg"
    copied.write_bytes((here / "flowers" / "test" / "daisy" / "0.jpg").read_bytes())
    assert main(["flowers"]) == 0
    assert "IMAGES IN TWO SPLITS" in capsys.readouterr().out
    assert prepared(here).overlaps == {"train-test": 1, "dropped": 1}


def test_a_generator_of_ones_own(here, tiny_unclip, capsys):
    pictures(here / "flowers", {"daisy": 30, "rose": 9}, side=80)
    assert main(["flowers", "--generator", str(tiny_unclip)]) == 0
    said = capsys.readouterr().out
    assert "Time: not known before it is measured" in said
    assert "THE GENERATOR" not in said
    params = read_params()
    assert params["generator"].path == str(tiny_unclip)
    assert params["prepare"].image_size == 16  # what it draws

    assert main(["flowers", "--generator", "owner/unclip", "--force"]) == 0
    params = read_params()
    assert (params["prepare"].image_size, params["prepare"].format) == (64, "png")
    assert params["train_baseline"].model_kwargs == {
        "stem_width": 32,
        "channels": [32, 64, 128, 256],
    }
    assert main(["flowers", "--generator", "no/such/place", "--force"]) == 2
    assert "--generator: there is no folder no/such/place" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("pipeline", "kind"),
    [
        ("StableDiffusionXLPipeline", "text-to-image"),
        ("StableDiffusion3Pipeline", "stable-diffusion-3"),
        ("StableUnCLIPImg2ImgPipeline", "stable-unclip"),
    ],
)
def test_the_kind_of_a_generator_is_read_from_its_index(here, pipeline, kind):
    pictures(here / "flowers", {"daisy": 30, "rose": 9})
    (here / "model").mkdir()
    (here / "model" / "model_index.json").write_text(json.dumps({"_class_name": pipeline}))
    assert main(["flowers", "--generator", "model"]) == 0
    params = read_params()  # with all that it has to agree on
    assert params["generator"].kind == kind
    assert params["synthesize"].conditioning == ("dual" if kind == "stable-unclip" else "text")


def test_a_generator_of_no_known_kind(here, capsys):
    pictures(here / "flowers", {"daisy": 30, "rose": 9})
    (here / "model").mkdir()
    (here / "model" / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    assert main(["flowers", "--generator", "model"]) == 2
    said = capsys.readouterr().err
    assert "--generator: model holds a FluxPipeline; known are Kandinsky" in said


def test_of_large_photographs(here):
    pictures(here / "photos", {"cat": 12, "dog": 5}, side=300)
    assert main(["photos", "--generator", "owner/unclip"]) == 0
    params = read_params()
    assert (params["prepare"].image_size, params["prepare"].format) == (256, "jpeg")
    training, small = params["train_baseline"], read_params(ROOT / "recipes" / "own_small.yaml")
    assert (training.model, training.pretrained) == ("resnet18", "default")
    assert params["synthesize"].feedback_decoder == "half"
    assert params["compute"].batch_size == small["compute"].batch_size


def test_letters_are_not_flipped(here):
    pictures(here / "letters", {"b": 30, "d": 30, "q": 5})
    assert main(["letters"]) == 0
    assert read_params()["train_baseline"].horizontal_flip is False


def test_mistakes_are_one_message(here, capsys):
    (here / "empty").mkdir()
    mistakes = {"empty": "is empty", "none": "does not exist", ".": "data.root: .", "": "no path"}
    for path, words in mistakes.items():
        assert main([path]) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ")
        assert words in said
        assert said.count("\n") == 1
    assert not Path("params.yaml").exists()


@pytest.mark.parametrize(
    ("counts", "wanted"),
    [
        ([500, 50, 5], 200),
        ([120, 40, 3], 120),
        ([1280, 900, 700, 5], 900),
        ([40, 40], 80),
        ([5000, 4000, 20], 1300),
        ([5000, 4000, 2000], 5000),
    ],
)
def test_a_target_is_above_the_smallest_class(counts, wanted):
    assert target(counts) == wanted > min(counts)


def test_three_commands_from_pictures_to_a_page(prefect_folder, tiny_unclip, capsys):
    pictures(prefect_folder / "flowers", COUNTS)
    # 1. python -m flows.init flowers
    assert main(["flowers", "--generator", str(tiny_unclip)]) == 0
    # 2. make repro: the stages of its DVC pipeline, with the smallest budget
    micro = {name: values for name, values in MICRO.items() if name not in ("data", "prepare")}
    set_params(prefect_folder, micro)
    for stage in STAGES:
        params, flow = read_params(), stage_flow(stage)
        assert (
            guarded(lambda flow=flow, params=params: flow(**arguments_of(flow, params, FIRST)))
            == 0
        )
    # 3. open reports/index.html
    page = (prefect_folder / "reports" / "index.html").read_text()
    assert "oxeye_daisy" in page
