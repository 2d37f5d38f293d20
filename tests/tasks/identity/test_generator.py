"""A generator is known by its content, or by its commit on the hub."""

from pathlib import Path

import pytest
from micro import generator_config

from tasks.identity import generator as generators
from tasks.identity.generator import generator_digests, hub_commit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def offline(*arguments: object, **options: object) -> None:
        raise ConnectionError

    monkeypatch.setattr(huggingface_hub, "model_info", offline)


@pytest.mark.usefixtures("_no_network")
def test_without_network_the_commit_is_that_of_the_cache(tmp_path: Path) -> None:
    folder = tmp_path / "models--owner--name"
    snapshot = folder / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "model_index.json").write_text("{}")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    assert hub_commit("owner/name", None, tmp_path) == COMMIT
    assert hub_commit("owner/name", "main", tmp_path) == COMMIT
    assert hub_commit("owner/other", "v1", tmp_path) == "v1"


def test_every_part_of_a_generator_is_identified(
    tiny_generators: dict[str, dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generators, "hub_commit", lambda path, revision: f"{path}@{revision}")
    settings = generator_config(
        **{**tiny_generators["stable-diffusion, ip-adapter"], "tiny_decoder": "owner/tiny"}
    )
    digests = generator_digests(settings)
    assert set(digests) == {settings.path, settings.adapter.path, "owner/tiny"}
    assert digests["owner/tiny"] == "owner/tiny@None"
    assert len(digests[settings.path]) == 64
