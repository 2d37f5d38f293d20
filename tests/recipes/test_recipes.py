"""Recipes are complete, say what they are, and become params.yaml without a loss."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from micro import ROOT
from miniatures import MINIATURES

from assets.fashion_contexts import GROUNDS, train_counts
from fgds_core.data.imbalance import exponential_profile
from fgds_core.errors import InputError
from fgds_core.synthesis.plan import plan_set
from flows.cli import recipes as cli
from flows.cli.params import read_params
from flows.cli.recipes import Recipe, use_recipe

RECIPES = {path.stem: Recipe(path.stem, path.read_text()) for path in ROOT.glob("recipes/*.yaml")}
EMBEDDED = {name: recipe for name, recipe in RECIPES.items() if not recipe.wants_data}
FIELDS = ("Command", "Data", "Layout", "Generator", "Cost", "Licence", "Expect", "Choices")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the recipes and params.yaml, under no git."""
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(tmp_path)
    MINIATURES["waterbirds"](tmp_path / "birds")
    return tmp_path


def git(*arguments: str) -> None:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", *identity, *arguments], check=True, capture_output=True)


def refusal(*arguments: str | None) -> str:
    with pytest.raises(InputError) as raised:
        use_recipe(*arguments)
    return str(raised.value)


def test_there_is_a_miniature_of_every_recipe() -> None:
    assert set(RECIPES) - set(EMBEDDED) == set(MINIATURES)
    assert set(EMBEDDED) == {"fashion_contexts"}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_complete_and_says_what_it_is(name: str) -> None:
    recipe = RECIPES[name]
    params = read_params(ROOT / "recipes" / f"{name}.yaml")
    if name not in EMBEDDED:
        assert params["data"].root == "$DATA"
        assert params["generator"].path == "$GENERATOR"
        assert params["judge"].path != "assets/judge"  # which knows garments alone
    assert tuple(recipe.header) == FIELDS
    assert all(recipe.header.values())
    command = f"make repro RECIPE={name}"
    if name not in EMBEDDED:
        command += " DATA=/path GENERATOR="
    assert command in recipe.header["Command"]
    assert max(map(len, recipe.text.splitlines())) <= 100
    completed = runpy.run_path(str(ROOT / "recipes" / "complete.py"))["completed"]
    remedy = "run `python recipes/complete.py`"
    assert completed(recipe.text, (ROOT / "params.yaml").read_text()) == recipe.text, remedy


def test_completing_adds_keys_and_comments_and_keeps_the_values_of_a_recipe() -> None:
    completed = runpy.run_path(str(ROOT / "recipes" / "complete.py"))["completed"]
    params = "# P\n\nseed: 0  # of all\n\na:\n  x: 1  # one\n  # of two\n  y: {}  # none\n"
    params += "  z:  # deep\n    v: 3\n\ndata:\n  kind: parquet\n"
    recipe = "# R\n\nseed: 1\n\na:\n  # old\n  x: 2\n  w: 4\n\ndata:\n  kind: list  # own\n"
    whole = "# R\n\nseed: 1  # of all\n\na:\n  x: 2  # one\n  # of two\n  y: {}  # none\n"
    whole += "  z:  # deep\n    v: 3\n  w: 4\n\ndata:\n  kind: list  # own\n"
    assert completed(recipe, params) == whole
    assert completed(whole, params) == whole


def test_the_recipe_of_embedded_data_differs_from_the_default_where_groups_ask_for_it() -> None:
    default = read_params(ROOT / "params.yaml")
    params = read_params(ROOT / "recipes" / "fashion_contexts.yaml")
    data = default["data"].model_copy(update={"root": "assets/fashion-contexts"})
    prompts = ["a {class} on a {group} background"]
    training = {"sampling": "group_balanced", "rand_augment": "rand-m5-mstd0.5-inc1"}
    drawing = {  # what won on validation images, on each of both data sets
        "target_per_group": 40,
        "rounds": 1,
        "conditioning": "text",
        "embedding_dropout": 0.0,
        "feedback": "exemplar",
    }
    of_groups = {
        "data": data,
        "generator": default["generator"].model_copy(update={"prompts": prompts}),
        "synthesize": default["synthesize"].model_copy(update=drawing),
        "retrain": default["retrain"].model_copy(update={"training": training}),
    }
    assert params == default | of_groups


COUNTS = {
    "cifar10_lt": [
        count - 20 * (k == 0) for k, count in enumerate(exponential_profile(5000, 100, 10))
    ],
    "cifar100_lt": [
        min(count, 480) for count in exponential_profile(500, 100, 100)
    ],  # 20 of each class validate
    "waterbirds": [{"land": 3498, "water": 184}, {"land": 56, "water": 1057}],
    "fashion_contexts": [dict(zip(GROUNDS, row, strict=True)) for row in train_counts().values()],
    "celeba": [{"woman": 71629, "man": 66874}, {"woman": 22880, "man": 1387}],
}
"""Training images of each class, or of each group of it, where they are known exactly."""


@pytest.mark.parametrize("name", COUNTS)
def test_the_cost_is_what_the_plan_says(name: str) -> None:
    config = read_params(ROOT / "recipes" / f"{name}.yaml")["synthesize"]
    counts, cells = COUNTS[name], None
    if config.target_per_group is not None:
        counts, cells = [sum(cell.values()) for cell in counts], counts
    plan = plan_set(counts, list(map(str, range(len(counts)))), config, cells)
    said = f"{sum(plan.wanted):,} images in {len(plan.parts):,} parts"
    assert RECIPES[name].header["Cost"].startswith(said)


def test_the_costs_that_follow_from_totals() -> None:
    """With no class above the target, what is wanted follows from the number of images."""
    drawn = {
        name: read_params(ROOT / "recipes" / f"{name}.yaml")["synthesize"] for name in RECIPES
    }
    target = {name: config.target_per_class for name, config in drawn.items()}
    wanted = 1_000 * target["imagenet_lt"] - 115_846
    parts = f"{-(-wanted // 100):,} to {wanted // 100 + 1_000:,} parts"
    assert RECIPES["imagenet_lt"].header["Cost"].startswith(f"{wanted:,} images in {parts}")
    of_five = 4980 + 2612 + 2400 + 1582 + 1530
    wanted = 360 * target["places_lt"] - (62_500 - of_five)
    assert RECIPES["places_lt"].header["Cost"].startswith(f"{wanted:,} images or more")
    least = 8_142 * target["inaturalist2018"] - 437_513
    most = 8_142 * (target["inaturalist2018"] - 1)
    assert RECIPES["inaturalist2018"].header["Cost"].startswith(f"{least:,} to {most:,} images")
    most = 60 * 6 * drawn["nico"].target_per_group
    assert RECIPES["nico"].header["Cost"].startswith(f"at most {most:,} images")


def test_the_table_of_recipes_says_what_their_headers_say() -> None:
    text = (ROOT / "docs" / "recipes.md").read_text()
    lines = (line.strip("| ").split(" | ") for line in text.splitlines() if line[:3] == "| `")
    rows = {name.strip("`"): cells for name, *cells in lines}
    assert set(rows) == set(RECIPES)
    for name, (title, draws, disk, licence) in rows.items():
        recipe = RECIPES[name]
        assert recipe.title.startswith(title)
        assert recipe.header["Cost"].startswith(draws)
        assert f"Disk: {disk}" in recipe.header["Cost"]
        assert recipe.header["Licence"].startswith(f"Of {licence}")
    assert "(docs/recipes.md)" in (ROOT / "README.md").read_text()


def test_a_recipe_becomes_the_parameters_and_the_users_own_are_kept(place: Path) -> None:
    own = (place / "params.yaml").read_text()
    said = use_recipe("waterbirds", "birds", "owner/unclip")
    assert said == (
        "params.yaml is now recipes/waterbirds.yaml with this DATA and GENERATOR;"
        " yours are kept in params.own.yaml."
    )
    assert (place / "params.own.yaml").read_text() == own
    params = read_params()
    assert (params["data"].root, params["generator"].path) == ("birds", "owner/unclip")
    before = (place / "params.yaml").stat().st_mtime_ns
    assert "is recipes/waterbirds.yaml with this DATA" in use_recipe(
        "waterbirds", "birds", "owner/unclip"
    )
    assert (place / "params.yaml").stat().st_mtime_ns == before


def test_embedded_data_are_named_by_their_recipe_or_by_themselves(place: Path) -> None:
    said = use_recipe(None, "fashion-contexts", None)
    assert said == (
        "params.yaml is now recipes/fashion_contexts.yaml; yours are kept in params.own.yaml."
    )
    assert (place / "params.yaml").read_text() == RECIPES["fashion_contexts"].text
    for given in (("fashion_contexts", None, None), ("fashion_contexts", "fashion-contexts", "")):
        assert use_recipe(*given) == "params.yaml is recipes/fashion_contexts.yaml."
    use_recipe("waterbirds", "birds", "owner/unclip")
    assert use_recipe("fashion_contexts", "", "").endswith(", in place of another one.")


def test_what_a_recipe_of_embedded_data_would_not_use_is_refused(place: Path) -> None:
    assert refusal("fashion_contexts", "birds", None).startswith(
        "DATA=birds: fashion_contexts has its own data"
    )
    assert refusal(None, "fashion-contexts", "a/b").startswith(
        "GENERATOR=a/b: fashion_contexts has its own generator"
    )
    assert refusal(None, "waterbirds", "a/b").startswith("RECIPE is missing")


def test_another_recipe_or_other_data_take_the_place_of_a_recipe(place: Path) -> None:
    use_recipe("waterbirds", "birds", "owner/unclip")
    MINIATURES["nico"](place / 'my "nico"')
    said = use_recipe("nico", 'my "nico"', "owner/unclip")
    assert said.endswith("GENERATOR, in place of another one.")
    assert read_params()["data"].root == 'my "nico"'
    assert use_recipe("nico", 'my "nico"', "other/unclip").endswith("in place of another one.")
    assert read_params()["generator"].path == "other/unclip"


def test_changes_of_the_user_are_not_replaced(place: Path) -> None:
    use_recipe("waterbirds", "birds", "owner/unclip")
    text = (place / "params.yaml").read_text().replace("seed: 0", "seed: 7", 1)
    (place / "params.yaml").write_text(text)
    assert "`make repro` without RECIPE" in refusal("waterbirds", "birds", "owner/unclip")
    assert (place / "params.yaml").read_text() == text


def test_what_git_has_is_not_kept_again(place: Path) -> None:
    git("init", "--quiet")
    git("add", "params.yaml")
    git("commit", "--quiet", "--message", "own")
    text = (place / "params.yaml").read_text()
    assert "yours are in git" in use_recipe("waterbirds", "birds", "owner/unclip")
    assert not (place / "params.own.yaml").exists()
    (place / "params.yaml").write_text(text.replace("seed: 0", "seed: 7", 1))
    assert "commit params.yaml" in refusal("waterbirds", "birds", "owner/unclip")


def test_a_set_that_is_half_drawn_is_not_given_up(place: Path) -> None:
    part = place / "data" / "synthetic" / "00000-cat" / "part-00000.parquet"
    part.parent.mkdir(parents=True)
    part.touch()
    assert "finish it (`make repro` without RECIPE)" in refusal("waterbirds", "birds", "a/b")
    assert (place / "params.yaml").read_text() == (ROOT / "params.yaml").read_text()
    (place / "data" / "synthetic" / "_index.json").touch()
    assert "params.yaml is now" in use_recipe("waterbirds", "birds", "a/b")


def test_what_is_missing_is_said_in_one_message(place: Path) -> None:
    for name, begins in ((None, "RECIPE is missing"), ("nicco", "there is no recipe nicco")):
        said = refusal(name, "birds", "a/b").splitlines()
        assert said[0].startswith(begins)
        assert {line.split()[0] for line in said[1:]} == set(RECIPES)
    assert refusal("nico", None, "a/b").startswith("DATA is missing: nico needs the folder")
    assert refusal("nico", "", "a/b").endswith("public_dg_0416/train/<context>/<class>/*.jpg")
    assert refusal("waterbirds", "birds", None).startswith("GENERATOR is missing: waterbirds")
    assert refusal("waterbirds", "bird", "a/b").startswith("DATA=bird is no folder; waterbirds")


MISSING = {
    "imagenet_lt": "ImageNet_LT_train.txt",
    "places_lt": "Places_LT_train.txt",
    "inaturalist2018": "train2018.json",
    "nico": "public_dg_0416/train",
    "waterbirds": "metadata.csv",
    "celeba": "list_attr_celeba.txt",
}


@pytest.mark.parametrize("name", MISSING)
def test_the_first_file_that_is_missing_is_named(place: Path, name: str) -> None:
    (place / "empty").mkdir()
    said = refusal(name, "empty", "a/b")
    layout = RECIPES[name].header["Layout"]
    assert said == f"DATA=empty has no {MISSING[name]}; {name} wants: {layout}"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("~nobody-is-called-so/birds", "DATA=~nobody-is-called-so/birds: no such user's home;"),
        ("x" * 5000, "File name too long; correct the path"),
        ("birds\nx: 1", r"DATA=birds\nx: 1 has line breaks"),
        ("birds\x1b[31m", r"DATA=birds\x1b[31m has line breaks or other characters"),
        ("birds\x7f", r"DATA=birds\x7f has"),
        ("birds\udcff", "has line breaks or other characters"),
    ],
)
def test_paths_that_can_be_none_are_one_message(place: Path, data: str, words: str) -> None:
    before = Path("params.yaml").read_bytes()
    message = refusal("waterbirds", data, "owner/name")
    assert words in message
    assert message.isprintable()
    assert Path("params.yaml").read_bytes() == before
    assert "\x1b" not in refusal("\x1b[31m../../x", data, None)


@pytest.mark.parametrize(
    "name", ["a b", "a'b", 'a"b', "a;b", "$DATA", "a\\b", "#a: b", "{a}", "日本"]
)
def test_a_path_stands_in_the_parameters_as_it_is(place: Path, name: str) -> None:
    (place / "birds").rename(place / name)
    use_recipe("waterbirds", name, "owner/name")
    assert read_params(Path("params.yaml"))["data"].root == name


def test_data_may_lie_in_a_bucket(place: Path) -> None:
    use_recipe("waterbirds", "s3://bucket/birds", "owner/name")
    assert read_params(Path("params.yaml"))["data"].root == "s3://bucket/birds"


def test_data_of_another_layout_are_refused(place: Path) -> None:
    (place / "empty").mkdir()
    said = refusal("cifar10_lt", "empty", "a/b")
    assert "holds neither the python version of CIFAR" in said
    assert said.endswith(RECIPES["cifar10_lt"].header["Layout"])


def test_the_makefile_hands_everything_on_and_leaves_the_main_job_alone(
    tmp_path: Path,
) -> None:
    """With a stand-in for python that says what it was called with."""
    bin_ = tmp_path / ".venv" / "bin"
    bin_.mkdir(parents=True)
    python = bin_ / "python"
    python.write_text('#!/bin/sh\nfor a in "$@"; do printf "<%s>" "$a"; done; echo\n')
    python.chmod(0o755)
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())

    def called(*arguments: str, **variables: str) -> str:
        command = ["make", "--no-print-directory", "-o", "setup", "-o", ".prefect/prefect.db"]
        done = subprocess.run(
            [*command, "repro", *arguments],
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", **variables},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.splitlines()[-1]

    job = "<-m><flows.repro>"
    assert called() == job
    assert called(DATA="/data", GENERATOR="x") == job  # somebody else's variables
    data = "/a b/$c;\"`touch x`'$(shell touch made)$(touch made)"  # a path, and no program
    assert called("RECIPE=nico", f"DATA={data}", "GENERATOR=o/$n") == (
        job + f"<--recipe><nico><--data><{data}><--generator><o/$n>"
    )
    assert called("RECIPE=$(shell touch made)", DATA=data) == (
        job + f"<--recipe><$(shell touch made)><--data><{data}><--generator><>"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [".venv", "Makefile"]
    assert called("RECIPE=nico", DATA="/data") == (
        job + "<--recipe><nico><--data></data><--generator><>"
    )
    assert called("DATA=/a") == job + "<--recipe><><--data></a><--generator><>"


def test_the_job_says_what_is_missing_and_does_nothing(place: Path) -> None:
    command = [sys.executable, "-m", "flows.repro", "--recipe", "", "--data", "birds"]
    done = subprocess.run(command, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: RECIPE is missing; choose one")
    assert re.search(r"^  nico +NICO\+\+, 60 classes", done.stderr, re.M)
    assert cli.PARAMS.read_text() == (ROOT / "params.yaml").read_text()
