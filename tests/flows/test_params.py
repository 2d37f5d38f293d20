"""Parameters are checked whole, and a mistake is said in the user's words."""

from pathlib import Path
from typing import Any

import pytest
from micro import ROOT
from ruamel.yaml import YAML

from fgds_core.errors import InputError
from flows.cli.params import SECTIONS, dump_params, read_params

ADAPTER = {
    "path": "owner/adapters",
    "revision": None,
    "subfolder": "models",
    "weight_name": "ip-adapter_sd15.safetensors",
    "image_encoder": "image_encoder",
    "scale": 0.6,
}
NOISED = {"synthesize.noise_level": 7}


def params_with(folder: Path, section: str, key: str | None, value: Any) -> Path:
    yaml = YAML(typ="safe", pure=True)
    tree = yaml.load((ROOT / "params.yaml").read_text())
    if key is None:
        tree[section] = value
    else:
        tree[section][key] = value
    path = folder / "params.yaml"
    with path.open("w") as file:
        yaml.dump(tree, file)
    return path


@pytest.mark.parametrize(
    ("section", "key", "value", "told"),
    [
        ("synthesise", None, {}, r"synthesise: unknown key; did you mean synthesize\?"),
        (
            "synthesize",
            "feedback_scal",
            1,
            r"synthesize\.feedback_scal: unknown key; did you mean",
        ),
        ("synthesize", "feedback", "entrpy", r'synthesize\.feedback: got "entrpy".*\'entropy\''),
        ("synthesize", "feedback_scale", -1, r"synthesize\.feedback_scale: got -1.*equal to 0"),
        ("synthesize", "noise_level", 1.5, r"synthesize\.noise_level: got 1\.5.*integer"),
        ("synthesize", "feedback_start", 0.99, r"no step lies between feedback_start \(0\.99\)"),
        ("retrain", "real_share", 2, r"retrain\.real_share: got 2.*share of real images"),
        ("train_baseline", "learning_rate", "1e-3", r'learning_rate: got "1e-3".*valid number'),
        ("data", "kind", "zip", r"data\.kind: got \"zip\": must be one of parquet, folder"),
        ("data", None, {"root": "x"}, r"data\.kind: missing; it is one of parquet, folder"),
        ("data", None, 5, r"data: got 5: must hold keys"),
        ("data", "rot", "x", r"data\.rot: unknown key; did you mean data\.root\?"),
        ("generator", "prompts", ["a photo"], r"generator\.prompts: .*\{class\}"),
        ("assess", "fid_blocks", 1, r"assess: .*fid_blocks must be 0"),
        ("compute", "device", "gpu", r'compute\.device: got "gpu".*cuda'),
        ("seed", None, -1, r"seed: got -1.*from 0"),
        ("seed", None, None, r"seed: got null"),
    ],
)
def test_a_mistake_names_the_key_the_value_and_what_is_allowed(
    tmp_path: Path, section: str, key: str | None, value: Any, told: str
) -> None:
    with pytest.raises(InputError, match=told):
        read_params(params_with(tmp_path, section, key, value))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"generator.kind": "text-to-image"}, r"synthesize\.conditioning: got dual.*text alone"),
        ({"generator.kind": "text-to-image"}, r"assess\.features: got clip.*no CLIP vision tower"),
        ({"generator.kind": "stable-diffusion-3"}, r"synthesize\.scheduler: got DDIM.*a flow"),
        (
            {"synthesize.scheduler": "FlowMatchEulerDiscreteScheduler"},
            r"synthesize\.scheduler: got FlowMatch.*diffusion model",
        ),
        ({"synthesize.feedback_decoder": "tiny"}, r"generator\.tiny_decoder is null"),
        (
            {"generator.kind": "ip-adapter", "generator.adapter": ADAPTER} | NOISED,
            r"synthesize\.noise_level: got 7.*set it to 0",
        ),
        (
            {"synthesize.embedding_mix": "slerp", "synthesize.conditioning": "text"},
            r"synthesize\.embedding_mix: got slerp.*no image is embedded",
        ),
        ({"generator.kind": "ip-adapter"}, r"generator: .*adapter must be given"),
        ({"generator.kind": "ip-adapter", "generator.adapter": {"path": "x"}}, r"weight_name"),
    ],
)
def test_sections_that_do_not_go_together_are_refused(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    yaml = YAML(typ="safe", pure=True)
    tree = yaml.load((ROOT / "params.yaml").read_text())
    for path, value in {"generator.tiny_decoder": None, **changes}.items():
        section, key = path.split(".")
        tree[section][key] = value
    with (tmp_path / "params.yaml").open("w") as file:
        yaml.dump(tree, file)
    with pytest.raises(InputError, match=told):
        read_params(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("section", "key", "said"),
    [
        ("synthesize", "target_per_class", "a valid integer or 'max'"),
        ("adapt", "classes", "'needed' or 'all' or a valid array"),
    ],
)
def test_what_may_be_one_thing_or_another_is_one_mistake(
    tmp_path: Path, section: str, key: str, said: str
) -> None:
    with pytest.raises(InputError) as caught:
        read_params(params_with(tmp_path, section, key, "most"))
    _, *lines = str(caught.value).splitlines()
    assert len(lines) == 1
    assert f'{section}.{key}: got "most": input should be {said} (' in lines[0]


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    path = params_with(tmp_path, "seed", None, -1)
    path.write_text(path.read_text().replace("retrain:", "retrane:"))
    with pytest.raises(InputError) as caught:
        read_params(path)
    assert str(caught.value).count("\n") == 3  # seed, the unknown section, the missing one


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("seed: 0\nseed: 1\n", "duplicate key"),
        ("seed: [0\n", r"line 2.*not YAML"),
        ("- seed\n", "must hold sections"),
        ("", "must hold sections"),
    ],
)
def test_what_is_no_parameter_file_is_refused(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=told):
        read_params(path)


def test_a_key_that_has_moved_is_told_where_to_once(tmp_path: Path) -> None:
    path = params_with(tmp_path, "assess", "judge", "assets/judge")
    tree = YAML(typ="safe", pure=True).load(path.read_text())
    del tree["judge"]  # a file of before
    with path.open("w") as file:
        YAML(typ="safe", pure=True).dump(tree, file)
    with pytest.raises(InputError) as raised:
        read_params(path)
    said = str(raised.value)
    assert "assess.judge: the judge has a section of its own now" in said
    assert "judge.path" in said
    assert "judge: missing" not in said  # once is enough


def test_a_missing_file_says_where_to_start(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--params"):
        read_params(tmp_path / "params.yaml")


def test_numbers_are_read_as_dvc_reads_them(tmp_path: Path) -> None:
    path = params_with(tmp_path, "synthesize", "feedback_scale", 0.5)
    path.write_text(path.read_text().replace("feedback_scale: 0.5", "feedback_scale: 2e-2"))
    assert read_params(path)["synthesize"].feedback_scale == 0.02


def test_the_resolved_parameters_read_back_the_same(tmp_path: Path) -> None:
    params = read_params(ROOT / "params.yaml")
    path = tmp_path / "params.yaml"
    path.write_text(dump_params(params))
    assert read_params(path) == params
    assert set(params) == set(SECTIONS)


def test_overrides_take_the_place_of_values() -> None:
    path = ROOT / "params.yaml"
    overrides = {
        "synthesize.feedback_scale": 0.5,
        "compute.runner": "dask",
        "seed": 3,
    }
    params = read_params(path, overrides)
    assert params["synthesize"].feedback_scale == 0.5
    assert params["compute"].runner == "dask"
    assert params["seed"] == 3
    assert params["retrain"] == read_params(path)["retrain"]


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("synthesize.feedback_scal", 1, r"feedback_scal: unknown key; did you mean"),
        ("synthesise.feedback", "none", r"synthesise: unknown key; did you mean synthesize\?"),
        ("synthesize.feedback_scale", "1", r'feedback_scale: got "1"'),
        ("seed.value", 1, r"seed\.value: unknown key; seed holds a value, no keys"),
    ],
)
def test_overrides_are_checked_as_strictly(path: str, value: Any, told: str) -> None:
    with pytest.raises(InputError, match=r"with the overrides[\s\S]*" + told):
        read_params(ROOT / "params.yaml", {path: value})
