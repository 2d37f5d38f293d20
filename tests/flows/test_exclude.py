"""Images that are left out: the training never sees them, and nothing is drawn again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest
from micro import ROOT, contents, set_params
from ruamel.yaml import YAML

from fgds_core.images.table import read_table
from fgds_core.synthesis.excluded import EXCLUDED_NAME, read_excluded
from fgds_core.synthesis.shards import read_index, read_synthetic
from flows import exclude
from flows.cli.params import read_params
from flows.cli.written import with_entries

Run = Callable[..., int]
SET = Path("data/synthetic")


def places(whole: bool = False) -> list[tuple[int, int]]:
    images, rows = read_synthetic(SET, whole=whole)
    found = list(zip(rows["label"].to_pylist(), rows["index"].to_pylist(), strict=True))
    assert images.labels.tolist() == [label for label, _ in found]
    return found


def call(*arguments: str) -> int:
    return exclude.main([*arguments, "--later"])


def test_what_is_left_out_is_trained_without_and_comes_back(
    ready: Run, drawn: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert call("--class", "owl", "--index", "1") == 2  # there is no set yet
    assert ready("synthesize") == 0
    before, params = contents(SET), read_params()
    everything = places()
    drawn.clear()

    assert call("--class", "owl", "--index", "9", "3", "--reason", "no: owl") == 0
    assert call("--class", "dog", "--index", "0") == 0
    assert call("--class", "owl", "--index", "3", "4", "--reason", "no: owl") == 0
    entries = read_params()["synthesize"].exclude
    assert [(each.class_name, each.indices, each.reason) for each in entries] == [
        ("owl", [3, 4, 9], "no: owl"),
        ("dog", [0], ""),
    ]
    assert ready("synthesize") == 0
    assert drawn == []
    away = {(2, 3), (2, 4), (2, 9), (1, 0)}
    assert places() == [place for place in everything if place not in away]
    assert places(whole=True) == everything
    after = contents(SET)
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {"_README.md", ".huggingface.yaml", "_index.json", EXCLUDED_NAME}
    assert {(each.label, each.index) for each in read_excluded(SET)} == away
    assert read_index(SET).num_kept == 12

    # other readers of the folder
    def load(name: str | None = None, **options: bool) -> list[dict[str, Any]]:
        cache = str(tmp_path / "cache")
        return list(
            datasets.load_dataset(str(SET), name, split="train", cache_dir=cache, **options)
        )

    def places_of(rows: list[dict[str, Any]]) -> list[tuple[int, int]]:
        return [(each["label"], each["index"]) for each in rows]

    kept = [place for place in everything if place not in away]
    assert places_of(load()) == kept == places_of(load(streaming=True))
    assert places_of(load("everything")) == everything
    assert places_of(load("left_out")) == sorted(away)
    assert load("left_out")[0]["image"].size == (16, 16)
    assert places_of(load("reasons")) == sorted(away)
    assert {each["reason"] for each in load("reasons")} == {"no: owl", ""}
    card = (SET / "_README.md").read_text()
    assert "12 images in one split" in card
    assert "hold 4 more that are left out of training" in card
    away_line, filtered = card.split("```python\n")[2].split("```")[0].splitlines()[-2:]
    here: dict[str, Any] = {"pandas": pd}
    exec(f"{away_line}\nkept = {filtered}".replace("data/synthetic", str(SET)), here)
    assert list(zip(here["kept"]["label"], here["kept"]["index"], strict=True)) == kept

    # assess marks them, the training never sees them
    assert ready("assess") == 0
    marked = read_table(Path("reports/assess/excluded.parquet"))
    assert marked.select(["label", "index", "by"]).to_pylist() == [
        {"label": label, "index": index, "by": "person"} for label, index in sorted(away)
    ]
    measures = json.loads(Path("reports/assess/measures.json").read_text())
    assert measures["num_synthetic"] == 12
    assert ready("retrain") == 0
    final = json.loads(Path("models/final/config.json").read_text())
    assert final["synthetic_counts"] == [0, 3, 9]

    capsys.readouterr()
    assert exclude.main(["--list"]) == 0
    said = capsys.readouterr().out
    assert "owl    3, 4, 9  params.yaml  no: owl" in said
    assert "does not know" not in said
    assert call("--undo", "--class", "owl", "--index", "4") == 0
    assert exclude.main(["--list"]) == 0
    assert "The set does not know all of it" in capsys.readouterr().out
    assert call("--undo", "--class", "dog") == 0
    assert call("--undo") == 0
    assert read_params() == params
    assert ready("synthesize") == 0
    assert contents(SET) == before
    assert drawn == []
    assert ready("assess") == 0
    assert not Path("reports/assess/excluded.parquet").exists()


def test_an_entry_means_the_images_that_were_seen(
    ready: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ready("synthesize") == 0
    assert call("--class", "owl", "--index", "3") == 0
    capsys.readouterr()
    assert ready("synthesize", synthesize={"feedback_scale": 0.5}) == 0
    said = capsys.readouterr().out
    assert "warning: synthesize.exclude[0]: owl 3 are other images now" in said
    assert len(places()) == 16
    assert ready("synthesize", synthesize={"feedback_scale": 0.05}) == 0
    assert len(places()) == 15

    # written by hand it means whatever is there
    by_hand = [{"class_name": "owl", "indices": [3, 3]}, {"class_name": "owl", "indices": [3]}]
    assert ready("synthesize", synthesize={"exclude": by_hand}) == 0
    assert [(each.label, each.index) for each in read_excluded(SET)] == [(2, 3)]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"owls": [3]}, "[0].class_name: there is no class 'owls'; did you mean owl?"),
        ({"dog": [0], "owl": [12]}, "[1].indices: there is no image 12, the class 'owl' has"),
        ({"cat": [0]}, "the class 'cat' has no synthetic image"),
        ({"dog": range(4), "owl": range(12)}, "all 16 synthetic images would be left out"),
    ],
    ids=["class", "index", "empty", "all"],
)
def test_what_cannot_be_left_out_is_said_before_anything_is_drawn(
    ready: Run,
    drawn: list[str],
    capsys: pytest.CaptureFixture[str],
    entries: dict[str, list[int]],
    message: str,
) -> None:
    rows = [{"class_name": name, "indices": [*places]} for name, places in entries.items()]
    assert ready("synthesize", synthesize={"exclude": rows}) == 2
    assert message in capsys.readouterr().err
    assert drawn == []


def test_a_table_that_was_changed_is_no_part_of_the_set(ready: Run) -> None:
    entries = [{"class_name": "owl", "indices": [3]}]
    assert ready("synthesize", synthesize={"exclude": entries}) == 0
    whole = contents(SET)
    (SET / EXCLUDED_NAME).write_bytes(whole[EXCLUDED_NAME][:-3])
    with pytest.raises(Exception, match="has changed since it was written"):
        places()
    assert ready("synthesize") == 0
    assert contents(SET) == whole


def test_the_list_is_written_in_its_place_and_all_else_stays() -> None:
    text, yaml = (ROOT / "params.yaml").read_text(), YAML(typ="safe", pure=True)
    entries = [
        {"class_name": "T-shirt/top", "indices": [1, 2], "reason": "a: b", "drawn_as": "12e45678"},
        {"class_name": "null", "indices": [3]},
    ]
    written = with_entries(text, "synthesize", "exclude", entries)
    assert yaml.load(written)["synthesize"]["exclude"] == entries
    more = set(written.splitlines()) - set(text.splitlines())
    assert len(more) == 3  # the key without its empty list, and two entries
    assert with_entries(written, "synthesize", "exclude", []) == text
    by_hand = text.replace("  exclude: []", "  exclude:").replace(
        "  copies:", "  - class_name: owl\n    indices:\n    - 3\n  copies:", 1
    )
    (was, now) = (yaml.load(each)["synthesize"] for each in (text, by_hand))
    assert now == {**was, "exclude": [{"class_name": "owl", "indices": [3]}]}
    assert yaml.load(with_entries(by_hand, "synthesize", "exclude", [])) == yaml.load(text)
    (line,) = (each for each in text.splitlines(True) if each.startswith("  exclude:"))
    older = with_entries(text.replace(line, ""), "synthesize", "exclude", entries)
    assert yaml.load(older)["synthesize"]["exclude"] == entries


def test_the_command_refuses_what_it_cannot_write(
    ready: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ready("synthesize") == 0
    params = Path("params.yaml").read_text()
    for arguments, message in (
        (["--class", "owl", "--index", "99"], "has no synthetic image 99"),
        (["--class", "owl", "--index", "1", "--reason", "hf_abcdefghijklmnopqrst"], "credentials"),
        (["--undo", "--class", "owl", "--index", "1"], "none of these images is left out"),
    ):
        assert call(*arguments) == 2
        assert message in capsys.readouterr().err
    assert Path("params.yaml").read_text() == params
    with pytest.raises(SystemExit):
        exclude.main(["--index", "1"])
    set_params(Path.cwd(), {"synthesize": {"exclude": [{"class_name": "owl", "indices": []}]}})
    with pytest.raises(Exception, match=r"synthesize.exclude\[0\].indices"):
        read_params()
