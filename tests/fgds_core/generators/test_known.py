"""A copy of a known generator is one, or is refused."""

import logging
import shutil
from hashlib import sha256
from pathlib import Path

import pytest
from micro import ROOT, generator_config, synthesize_config

from benchmarks import known as document
from benchmarks.weights import REPOSITORIES, half_gib
from fgds_core.errors import InputError
from fgds_core.generators import known
from fgds_core.generators.family import KINDS
from fgds_core.generators.known import KNOWN, Known, Published, check_published, known_as
from fgds_core.generators.load import load_generator
from flows.cli.inputs import check_drawing

NAME = "unet/diffusion_pytorch_model.safetensors"
HALF = "unet/diffusion_pytorch_model.fp16.safetensors"


def test_each_is_written_down_once_with_whole_digests() -> None:
    assert len({each.path for each in KNOWN}) == len(KNOWN)
    for each in KNOWN:
        assert each.licence
        assert each.kind is None or (each.kind in KINDS and each.takes and each.side)
        for name, file in each.files.items():
            assert name.endswith(".safetensors")
            assert file.size > 0
            assert len(bytes.fromhex(file.sha256)) == 32
            assert file.sha256 == file.sha256.lower()


def test_what_each_takes_in_memory_is_counted_from_its_configuration() -> None:
    assert set(document.HALF_GIB) == set(REPOSITORIES) == {each.path for each in KNOWN}
    for path in ("stabilityai/stable-diffusion-2-1-unclip", "madebyollin/taesd"):
        assert half_gib(path) == pytest.approx(document.HALF_GIB[path], abs=0.05)
    # No file of a generator, in half precision or not, is larger than the whole
    for each in KNOWN:
        if each.kind is not None:
            largest = max(file.size for file in each.files.values())
            assert largest <= 2 * document.HALF_GIB[each.path] * 2**30


def test_the_document_has_the_table() -> None:
    text = (ROOT / "docs" / "generators.md").read_text(encoding="utf-8")
    assert document.table() in text


@pytest.mark.parametrize(
    ("path", "known_path"),
    [
        ("kandinsky-community/kandinsky-2-2-decoder", "kandinsky-community/kandinsky-2-2-decoder"),
        ("models/Stable-Diffusion-v1-5", "stable-diffusion-v1-5/stable-diffusion-v1-5"),
        ("/cache/models--h94--IP-Adapter/snapshots/018e40", "h94/IP-Adapter"),
        ("models/my-own", None),
        ("gsdf/Counterfeit-V2.5", None),
        (".", None),
    ],
)
def test_a_copy_is_known_by_its_name(path, known_path) -> None:
    found = known_as(path)
    assert (found and found.path) == known_path


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A whole copy of a generator that is known as `owner/tiny`."""
    folder = tmp_path / "tiny"
    for name, content in ((NAME, b"a" * 1000), (HALF, b"b" * 500)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    files = {
        name: Published(
            (folder / name).stat().st_size, sha256((folder / name).read_bytes()).hexdigest()
        )
        for name in (NAME, HALF)
    }
    monkeypatch.setattr(known, "KNOWN", (Known("owner/tiny", "MIT", files),))
    return folder


def test_a_whole_copy_passes(copy: Path) -> None:
    check_published(str(copy), copy, "generator.path")
    check_published("owner/tiny", copy, "generator.path", "fp16")


def test_another_content_of_the_same_name_and_size_is_refused(copy: Path) -> None:
    check_published(str(copy), copy, "generator.path")
    (copy / NAME).write_bytes(b"a" * 999 + b"x")
    with pytest.raises(InputError) as refused:
        check_published(str(copy), copy, "generator.path")
    said = str(refused.value)
    assert said.startswith(
        f"generator.path: {copy / NAME} has name and size of {NAME} of owner/tiny,"
    )
    assert "a damaged or altered copy; bring it anew" in said
    assert "\n" not in said


def test_what_is_not_the_published_file_at_all_is_left_to_its_user(copy: Path) -> None:
    (copy / NAME).write_bytes(b"x" * 700)  # saved anew in another form
    check_published(str(copy), copy, "generator.path")
    (copy / NAME).write_bytes(b"x" * 1000)  # trained further, under a name of its own
    mine = copy.rename(copy.with_name("mine"))
    check_published(str(mine), mine, "generator.path")


@pytest.mark.parametrize(("variant", "broken"), [(None, HALF), ("fp16", NAME)])
def test_only_what_is_loaded_is_compared(copy: Path, variant: str | None, broken: str) -> None:
    (copy / broken).write_bytes(b"x" * (copy / broken).stat().st_size)
    check_published(str(copy), copy, "generator.path", variant)
    check_published(str(copy), copy, "generator.path", None, only=())
    other = None if variant else "fp16"
    with pytest.raises(InputError, match="a damaged or altered copy"):
        check_published(str(copy), copy, "generator.path", other)


def test_a_long_comparison_is_announced(copy: Path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(known, "LONG", 100)
    with caplog.at_level(logging.INFO, logger=known.__name__):
        check_published(str(copy), copy, "generator.path")
    assert "comparing 0.0 GB" in caplog.text


@pytest.fixture
def altered(tiny_generators, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What makes a copy of a folder whose weights are not those that it is known for."""

    def altered(source: str, *names: str) -> str:
        folder = Path(shutil.copytree(source, tmp_path / "famous"))
        files = {name: Published((folder / name).stat().st_size, "0" * 64) for name in names}
        monkeypatch.setattr(known, "KNOWN", (Known("owner/famous", "MIT", files),))
        return str(folder)

    return altered


REFUSALS = {
    "a generator": ("stable-diffusion", None, NAME, r"generator\.path"),
    "a prior": (
        "kandinsky-2.2",
        "prior",
        "prior/diffusion_pytorch_model.safetensors",
        r"generator\.prior",
    ),
    "an adapter": (
        "stable-diffusion, ip-adapter",
        "adapter",
        "stable-diffusion/adapter.safetensors",
        r"generator\.adapter",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_it_is_checked_before_the_run_and_when_it_is_loaded(
    tiny_generators, altered, name
) -> None:
    of, part, file, key = REFUSALS[name]
    settings = dict(tiny_generators[of])
    if part is None:
        settings["path"] = altered(str(settings["path"]), file)
    else:
        settings[part] = {**settings[part], "path": altered(settings[part]["path"], file)}
    config = generator_config(**settings)
    message = rf"{key}: .* has name and size of {file} of owner/famous"
    with pytest.raises(InputError, match=message):
        load_generator(config)
    with pytest.raises(InputError, match=message):
        check_drawing(config, synthesize_config())
    check_drawing(config, synthesize_config(), dry=True)  # which reads no weights


def test_a_tiny_decoder_is_checked_as_well(tiny_generators, altered) -> None:
    decoder = Path(tiny_generators["stable-diffusion"]["path"]).parent / "tiny-decoder"
    path = altered(str(decoder), "diffusion_pytorch_model.safetensors")
    config = generator_config(**tiny_generators["stable-diffusion"], tiny_decoder=path)
    with pytest.raises(InputError, match=r"generator\.tiny_decoder: .* of owner/famous"):
        load_generator(config)
    with pytest.raises(InputError, match=r"generator\.tiny_decoder: .* of owner/famous"):
        check_drawing(config, synthesize_config())
