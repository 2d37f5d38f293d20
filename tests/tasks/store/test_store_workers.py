"""Workers with empty disks: what they lack comes from the store, what they draw goes there."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from micro import MICRO, ROOT, contents, set_params, write_pictures
from s3 import Network, config

from fgds_core.data.prepare import prepare
from fgds_core.synthesis.plan import Part
from fgds_core.synthesis.recipe import Recipe
from flows.cli.params import read_params
from tasks.draw import draw_part
from tasks.store.inputs import Shared, share
from tasks.store.parts import collect
from tasks.survey import survey
from tasks.workspace import FIRST


class Run:
    """A run whose earlier stages are done, in the folder it is made in."""

    def __init__(self, generator: Path, classifier: Path) -> None:
        here = Path.cwd()
        shutil.copyfile(ROOT / "params.yaml", "params.yaml")
        set_params(here, {**MICRO, "generator": {"path": str(generator)}})
        write_pictures(here / "assets" / "pictures")
        self.params = read_params()
        prepare(self.params["data"], self.params["prepare"], FIRST.prepared)
        shutil.copytree(classifier, FIRST.baseline)
        recipe = Recipe(self.params["generator"], self.params["synthesize"], self.params["seed"])
        (self.found,) = survey(recipe, self.params["retrain"], self.params["store"], FIRST).rounds
        self.parts = self.found.plan.parts
        self.fingerprints = self.found.fingerprints

    def draw(self, parts: Sequence[Part], shared: Shared | None) -> None:
        """Draws parts in the current folder, as the task does."""
        for part, its_own in zip(parts, self.fingerprints, strict=False):
            sources = self.found.sources(shared)
            draw_part.fn(part, its_own, sources, self.params["compute"], FIRST)


def test_each_part_is_drawn_once_and_is_the_same_bytes_everywhere(
    tmp_path: Path,
    tiny_unclip: Path,
    tiny_classifier: Path,
    network: Network,
    drawn: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folders = [tmp_path / name for name in ("flow", "one", "other")]
    flow, one, other = folders
    for folder in folders:
        folder.mkdir()
    monkeypatch.chdir(flow)
    run = Run(tiny_unclip, tiny_classifier)
    shared = share(config(network.url), run.found.inputs)
    assert shared is not None

    monkeypatch.chdir(one)
    run.draw(run.parts[:2], shared)
    monkeypatch.chdir(other)
    run.draw(run.parts, shared)
    assert drawn == [part.path for part in run.parts]

    monkeypatch.chdir(flow)
    collect(shared.config, run.parts, run.fingerprints, FIRST.synthetic)
    collected = contents(flow / FIRST.synthetic)
    assert collected == contents(other / FIRST.synthetic)
    shutil.rmtree(flow / FIRST.synthetic)
    run.draw(run.parts, None)
    assert contents(flow / FIRST.synthetic) == collected
