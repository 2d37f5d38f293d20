"""Letters from fonts: long-tailed, the same at every rendering, and parameters that are read."""

import json
from pathlib import Path

import numpy as np
import pytest
from micro import contents

from benchmarks import letters
from flows.cli.params import read_params


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hardly any pictures."""
    monkeypatch.setattr(letters, "TRAIN", tuple(range(12, 0, -1)))
    monkeypatch.setattr(letters, "VALIDATION", 2)
    monkeypatch.setattr(letters, "TEST", 3)


def test_a_letter_is_rendered_in_many_ways_and_each_time_the_same(
    few: None, tmp_path: Path
) -> None:
    letters.write_letters(tmp_path / "once")
    letters.write_letters(tmp_path / "again")
    pictures = contents(tmp_path / "once")
    assert pictures == contents(tmp_path / "again")
    assert len(set(pictures.values())) == len(pictures)  # none is in two splits
    counts = [len(list((tmp_path / "once" / "train" / x).iterdir())) for x in letters.LETTERS]
    assert counts == list(range(12, 0, -1))
    assert len(list((tmp_path / "once" / "test").glob("*/*.png"))) == 12 * 3


def test_every_font_has_every_letter() -> None:
    files = letters.fonts()
    assert len(files) > 10
    for file in files:
        shapes = set()
        for letter in letters.LETTERS:
            picture = letters.render(letter, [file], np.random.default_rng(0))
            shapes.add(np.asarray(picture).tobytes())
        assert len(shapes) == len(letters.LETTERS), file.name  # no box for what is not there


def test_its_parameters_are_read_and_only_the_adapter_differs(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    letters.write_params(path, letters.OVERRIDES)
    off = read_params(path)
    letters.write_params(path, letters.ADAPTED)
    on = read_params(path)
    assert [name for name in on if on[name] != off[name]] == ["adapt"]
    assert (tmp_path / on["generator"].path / "model_index.json").is_file()
    assert off["synthesize"].cannot_draw == "refuse"


@pytest.mark.parametrize("name", letters.TRIES)
def test_every_try_is_read_and_keeps_what_it_does_not_change(name: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    letters.write_params(path, letters.ADAPTED)
    default = read_params(path)
    letters.write_params(path, letters.params_of(name))
    tried = read_params(path)
    changed = {section for section in tried if tried[section] != default[section]}
    assert changed == {"synthesize", *letters.TRIES[name]}  # which draws what the check refuses
    assert tried["retrain"].training["sampling"] == default["retrain"].training["sampling"]


def test_what_is_said_of_the_letters_is_what_was_measured() -> None:
    found = json.loads(letters.RESULT.read_text())
    text = (letters.ROOT / "docs" / "trust.md").read_text()
    able, checked = found["can_draw"]["before"]
    assert not able
    assert f"refuses all {checked} letters" in text
    assert found["can_draw"]["after"] == [checked, checked]
    tries = found["tries"]
    assert set(tries) == {"control", *letters.TRIES}
    for name in letters.TRIES:
        overall, few = (100 * tries[name][key] for key in ("overall", "few"))
        assert f"| {overall:.1f} | {few:.1f} |" in text, name
        assert overall < 100 * tries["control"]["overall"]  # none reaches it, the text says
    before, after = (100 * found["after"]["metrics"][x]["overall"] for x in ("control", "final"))
    assert f"from {before:.1f} (control) to {after:.1f} %" in text
