"""The preview: a page of a few images, with feedback and without, beside real ones."""

import re
import shutil
import sys
from pathlib import Path

import pytest
from micro import MICRO, ROOT, set_params, write_pictures
from PIL import Image

from fgds_core.data.prepare import prepare
from fgds_core.stages import adapt as stage
from flows.cli.params import read_params
from flows.cli.pictures import for_terminal
from flows.preview import main
from tasks.adapter import adaptation
from tasks.workspace import FIRST


@pytest.fixture
def prepared(tmp_path: Path, tiny_unclip: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with prepared data and no classifier."""
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(ROOT / "params.yaml", "params.yaml")
    set_params(tmp_path, {**MICRO, "generator": {"path": str(tiny_unclip)}})
    write_pictures(tmp_path / "assets" / "pictures")
    params = read_params()
    prepare(params["data"], params["prepare"], Path("data/prepared"))
    return tmp_path


def rows(page: Path) -> dict[str, list[str]]:
    """The rows of the last class on the page: title -> what is said of each image."""
    text = page.read_text()
    last = text.rpartition("<h2>")[2]
    return {
        title: re.findall(r'alt="([^"]*)"', images)
        for title, images in re.findall(r"<b>(.*?)</b>(.*?)</div>", last)
    }


def test_it_works_before_there_is_a_classifier_and_says_so(
    prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--classes", "owl", "--n", "3"]) == 0
    said = capsys.readouterr().out
    assert "Without feedback: models/baseline, which guides, is not there yet" in said
    page = prepared / ".runs" / "preview" / "index.html"
    assert f"Page: {page}" in said
    assert {title: len(images) for title, images in rows(page).items()} == {
        "real, validation": 3,
        "without feedback": 3,
    }
    assert "http" not in page.read_text()
    assert main(["--classes", "yeti"]) == 2
    assert "--classes: there is no class 'yeti': cat, dog, owl" in capsys.readouterr().err
    assert main(["--classes", "OWL", "--n", "1"]) == 2
    assert "there is no class 'OWL'; did you mean owl?" in capsys.readouterr().err
    # What cannot be written is said before anything is drawn
    with pytest.raises(SystemExit):
        main(["--out", "params.yaml/page"])
    assert "--out: params.yaml is no folder" in capsys.readouterr().err


def test_feedback_is_shown_on_and_off_at_the_same_seed(
    prepared: Path,
    tiny_classifier: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(tiny_classifier, prepared / "models" / "baseline")
    assert main(["--n", "2", "--out", "shown"]) == 0
    page = prepared / "shown" / "index.html"
    found = rows(page)
    assert list(found) == ["real, validation", "without feedback", "with feedback entropy"]
    seeds = [
        [re.findall(r"seed (\d+)", each) for each in found[title]] for title in list(found)[1:]
    ]
    assert seeds[0] == seeds[1]
    assert page.read_text().count("<h2>") == 2  # cat has enough
    # Two lines of three rows of two pictures of 16 pixels, six times as large
    with Image.open(prepared / "shown" / "strip.png") as strip:
        assert strip.size == (3 * (2 * (96 + 4) + 8), 2 * (96 + 4))
    said = capsys.readouterr().out
    assert "Without feedback" not in said
    assert "\x1b" not in said  # for no terminal
    # One that shows pictures gets the strip itself
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm-kitty")
    monkeypatch.setenv("KITTY_WINDOW_ID", "1")
    assert main(["--n", "1", "--out", "shown"]) == 0
    png = (prepared / "shown" / "strip.png").read_bytes()
    assert for_terminal(png, {"TERM": "xterm-kitty", "KITTY_WINDOW_ID": "1"}) in str(
        capsys.readouterr().out
    )


def pictures(page: Path) -> list[list[str]]:
    """The drawn pictures of each class on the page."""
    classes = page.read_text().split("<h2>")[1:]
    return [re.findall(r'src="([^"]*)" alt="\w+ 0, without', text) for text in classes]


def test_what_the_generator_has_learnt_is_shown(
    prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, show = prepared / ".runs" / "preview" / "index.html", ["--classes", "owl", "cat"]
    assert main(show) == 0
    owl, cat = pictures(page)
    assert owl
    assert cat
    learning = {"enabled": True, "num_steps": 3, "decoder_steps": 0, "classes": ["cat"]}
    set_params(prepared, {"adapt": learning})
    assert main(show) == 0
    assert "As the generator is: models/adapter is not there yet" in capsys.readouterr().out
    assert pictures(page) == [owl, cat]

    params = read_params()
    sections = (params["adapt"], params["generator"], params["synthesize"], params["seed"])
    FIRST.adapter.mkdir(parents=True)
    stage.adapt(adaptation(*sections, FIRST), FIRST.prepared, FIRST.adapter)
    assert main(show) == 0
    assert "As the generator is" not in capsys.readouterr().out
    as_it_is, learnt = pictures(page)
    assert as_it_is == owl
    assert learnt != cat
