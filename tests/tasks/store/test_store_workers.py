"""Workers with empty disks: what they lack comes from the store, what they draw goes there."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from micro import MICRO, ROOT, contents, set_params, write_pictures
from s3 import Network, config

import tasks.synthesize
from fgds_core.data.prepare import prepare
from flows.cli.params import read_params
from tasks.identity.drawing import input_digests, made_by, part_fingerprints
from tasks.layout import BASELINE, PREPARED, SYNTHETIC
from tasks.store.inputs import Shared, share
from tasks.store.parts import collect
from tasks.synthesize import Part, draw_part, plan, sources_of


class Run:
    """A run whose earlier stages are done, in the folder it is made in."""

    def __init__(self, generator: Path, classifier: Path) -> None:
        here = Path.cwd()
        shutil.copyfile(ROOT / "params.yaml", "params.yaml")
        set_params(here, {**MICRO, "generator": {"path": str(generator)}})
        write_pictures(here / "assets" / "pictures")
        self.params = read_params()
        prepare(self.params["data"], self.params["prepare"], Path(PREPARED))
        shutil.copytree(classifier, BASELINE)
        generator, config, seed = (
            self.params[name] for name in ("generator", "synthesize", "seed")
        )
        self.inputs = input_digests(generator, config)
        self.origin = made_by(generator, config, seed, self.inputs)
        planned = plan(config)
        self.parts = planned.parts
        self.fingerprints = part_fingerprints(self.origin, planned)

    def draw(self, parts: Sequence[Part], shared: Shared | None) -> None:
        """Draws parts in the current folder, as the task does."""
        tasks.synthesize._studio.clear()
        for part, its_own in zip(parts, self.fingerprints, strict=False):
            draw_part.fn(
                part,
                self.params["generator"],
                self.params["synthesize"],
                self.params["seed"],
                its_own,
                sources_of(self.inputs, self.origin, shared),
                self.params["compute"],
            )


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
    shared = share(config(network.url), run.inputs)
    assert shared is not None

    monkeypatch.chdir(one)
    run.draw(run.parts[:2], shared)
    monkeypatch.chdir(other)
    run.draw(run.parts, shared)
    assert drawn == [part.path for part in run.parts]

    monkeypatch.chdir(flow)
    collect(shared.config, run.parts, run.fingerprints, Path(SYNTHETIC))
    collected = contents(flow / SYNTHETIC)
    assert collected == contents(other / SYNTHETIC)
    shutil.rmtree(flow / SYNTHETIC)
    run.draw(run.parts, None)
    assert contents(flow / SYNTHETIC) == collected
