"""A generator that learns: from training images alone, until held-out ones say so, and at rest."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from micro import CLASS_NAMES, ROOT, contents, generator_config, random_images, synthesize_config
from safetensors.torch import save_file

from fgds_core.adapt.adaptation import Adaptation, Told
from fgds_core.adapt.apply import adapted
from fgds_core.adapt.config import AdaptConfig
from fgds_core.adapt.examples import captions, split
from fgds_core.adapt.fit import Schedule, best_of, fit
from fgds_core.adapt.recipe import recipe_of
from fgds_core.adapt.record import Look, read_record
from fgds_core.adapt.words import add_words, nameless
from fgds_core.classify.checkpoint import Checkpoint
from fgds_core.data.meta import Meta, write_meta
from fgds_core.errors import InputError
from fgds_core.files import sha256_file
from fgds_core.generators.config import GeneratorConfig
from fgds_core.generators.load import load_generator
from fgds_core.generators.model import Generator
from fgds_core.images.table import image_table, write_images
from fgds_core.stages import adapt as stage
from fgds_core.stages.check import unknown
from fgds_core.synthesis.plan import Part
from fgds_core.synthesis.recipe import Recipe
from fgds_core.synthesis.request import plan_images


def adapt_config(**changes: object) -> AdaptConfig:
    """The section `adapt`, on, with changes."""
    values = {
        "enabled": True,
        "classes": "all",
        "method": "full",
        "rank": 2,
        "num_steps": 6,
        "batch_size": 4,
        "learning_rate": 1e-2,
        "decoder_steps": 0,
        "held_out": 0.2,
        "eval_every": 3,
        "patience": 2,
    }
    return AdaptConfig.model_validate(values | changes)


COUNTS = (8, 6, 3)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Training images of three classes, and no others."""
    folder = tmp_path_factory.mktemp("prepared")
    labels = [label for label, count in enumerate(COUNTS) for _ in range(count)]
    light = torch.tensor([-0.7, 0.0, 0.7])[labels].view(-1, 1, 1, 1)
    images = (light + 0.1 * random_images(len(labels), 16)).clamp(-1, 1)
    write_images(folder / "train.parquet", image_table(images, labels, CLASS_NAMES))
    digests = {"train": sha256_file(folder / "train.parquet"), "val": "", "test": ""}
    counts = {"train": COUNTS, "val": (0, 0, 0), "test": (0, 0, 0)}
    bins = dict.fromkeys(CLASS_NAMES, "few")
    write_meta(folder, Meta(CLASS_NAMES, 16, counts, bins, None, {}, digests))
    return folder


def adaptation(
    generator: GeneratorConfig, *, classes: tuple[str, ...] = CLASS_NAMES, **changes: object
) -> Adaptation:
    """What is to be learnt by a generator of three classes."""
    conditioning = "dual" if generator.kind == "stable-unclip" else "text"
    told = Told.by(synthesize_config(conditioning=conditioning))
    return Adaptation(adapt_config(**changes), generator, told, 0, classes, {"of": "a test"})


def learn(what: Adaptation, prepared: Path, out: Path, **how: Any) -> Path:
    """Writes an adapter."""
    out.mkdir(exist_ok=True)
    stage.adapt(what, prepared, out, **how)
    return out


def predictions(generator: Generator, prompt: str = "a cat") -> torch.Tensor:
    """What a denoiser says of some latents."""
    z = torch.randn(2, *generator.latent_shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        denoiser = generator.denoiser([prompt] * 2, None, 1.0)
        return generator.ask(z, torch.tensor(500), **denoiser.conditional)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("stable-unclip", "full"),
        ("stable-unclip", "lora"),
        ("stable-diffusion", "lora"),
        ("stable-diffusion-xl", "lora"),
    ],
)
def test_a_generator_draws_with_what_it_has_learnt(
    name: str,
    method: str,
    tiny_generators: dict[str, dict[str, object]],
    prepared: Path,
    tmp_path: Path,
) -> None:
    config = generator_config(**tiny_generators[name])
    what = adaptation(config, method=method, num_steps=40, eval_every=20)
    folder = learn(what, prepared, tmp_path / "adapter")
    record = read_record(folder)
    assert record.denoiser is not None
    looks = record.denoiser.looks
    assert looks[-1].held_out < looks[0].held_out  # type: ignore[operator]
    assert record.classes == CLASS_NAMES
    assert record.num_learnt + record.num_held_out == sum(COUNTS)
    assert dict(record.made_by) == {"of": "a test"}

    plain = load_generator(config)
    before = predictions(plain)
    beside = adapted(plain, folder, apart=True, compile=False)
    assert torch.equal(predictions(plain), before)  # it is as it was
    after = predictions(beside)
    assert (after - before).abs().max() > 1e-3
    assert not any(p.requires_grad for p in beside.network.parameters())
    assert set(beside.network.state_dict()) == set(plain.network.state_dict())  # and as fast
    in_place = adapted(plain, folder, apart=False, compile=False)
    assert in_place.network is plain.network
    torch.testing.assert_close(predictions(in_place), after)


def test_what_diffusers_loads_is_what_was_learnt(
    tiny_generators: dict[str, dict[str, object]], prepared: Path, tmp_path: Path
) -> None:
    config = generator_config(**tiny_generators["stable-diffusion"])
    folder = learn(adaptation(config, method="lora"), prepared, tmp_path / "adapter")
    generator = load_generator(config)
    expected = predictions(adapted(generator, folder, apart=True, compile=False), "")
    generator.network.load_lora_adapter(
        str(folder), prefix=None, weight_name="pytorch_lora_weights.safetensors"
    )
    torch.testing.assert_close(predictions(generator, ""), expected)


def test_a_name_that_reads_like_another_becomes_a_word_of_its_own(
    tiny_unclip: Path, prepared: Path, tmp_path: Path
) -> None:
    config = generator_config(tiny_unclip, prompts=["a {class}"])
    assert stage.new_words(config, ["cat", "Cat", "x", "dog"]) == ["cat", "Cat", "x", "dog"]
    folder = learn(adaptation(config, num_steps=10), prepared, tmp_path / "adapter")
    assert read_record(folder).words == CLASS_NAMES  # its tokenizer has single letters alone
    plain = load_generator(config)
    told = plain.encode_prompts(["a cat", "a dog"])["encoder_hidden_states"]
    new = adapted(plain, folder, apart=True, compile=False)
    heard = new.encode_prompts(["a cat", "a dog"])["encoder_hidden_states"]
    assert not torch.equal(heard[0], told[0])
    assert torch.equal(plain.encode_prompts(["a cat"])["encoder_hidden_states"][0], told[0])
    ids = [new.pipeline.tokenizer(text, add_special_tokens=False).input_ids for text in ("cat",)]
    assert len(ids[0]) == 1
    rows = new.pipeline.text_encoder.get_input_embeddings().weight
    old = plain.pipeline.text_encoder.get_input_embeddings().weight
    assert torch.equal(rows[: len(old)], old)  # other words mean what they meant


def test_a_word_means_at_first_what_its_pieces_mean(tiny_unclip: Path) -> None:
    pipeline = load_generator(generator_config(tiny_unclip)).pipeline
    pieces = pipeline.tokenizer("cat", add_special_tokens=False).input_ids
    mean = pipeline.text_encoder.get_input_embeddings().weight[pieces].mean(dim=0)
    add_words(pipeline, ["cat"])
    (word,) = pipeline.tokenizer("cat", add_special_tokens=False).input_ids
    torch.testing.assert_close(pipeline.text_encoder.get_input_embeddings().weight[word], mean)


def test_words_of_the_prompts_stay_what_they_are() -> None:
    prompts = ["a photo of a {class}", "{class}, by A. Z."]
    assert nameless(["a", "A", "B", "owl", "grebe"], ["grebe"], prompts) == ["B", "grebe"]


def test_the_decoder_learns_too(tiny_unclip: Path, prepared: Path, tmp_path: Path) -> None:
    config = generator_config(tiny_unclip)
    what = adaptation(config, num_steps=1, decoder_steps=40, eval_every=20)
    folder = learn(what, prepared, tmp_path / "adapter")
    decoder = read_record(folder).decoder
    assert decoder is not None
    assert decoder.looks[-1].held_out < decoder.looks[0].held_out  # type: ignore[operator]
    plain = load_generator(config)
    z = torch.randn(1, *plain.latent_shape, generator=torch.Generator().manual_seed(0))
    before = plain.decode(z)
    assert not torch.equal(adapted(plain, folder, apart=True, compile=False).decode(z), before)
    assert torch.equal(plain.decode(z), before)


class Killed(Exception):
    """Ends a training as a kill does."""


@pytest.mark.parametrize("after", [3, 8])  # in the denoiser's steps, in the decoder's
def test_one_that_was_stopped_comes_to_the_same_bytes(
    tiny_unclip: Path, prepared: Path, tmp_path: Path, after: int
) -> None:
    what = adaptation(generator_config(tiny_unclip), decoder_steps=4)
    whole = contents(learn(what, prepared, tmp_path / "whole"))
    names = ("denoiser", "decoder")
    places = stage.Checkpoints(*(Checkpoint(tmp_path / name, "key", 0.0) for name in names))
    done = 0

    def kill(steps: int) -> None:
        nonlocal done
        done += steps
        if done == after:
            raise Killed

    with pytest.raises(Killed):
        learn(what, prepared, tmp_path / "stopped", advance=kill, checkpoints=places)
    out = learn(what, prepared, tmp_path / "again", checkpoints=places)
    assert contents(out) == whole


def test_images_that_do_not_fit_into_memory_teach_the_same(
    tiny_unclip: Path, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    what = adaptation(generator_config(tiny_unclip))
    kept = read_record(learn(what, prepared, tmp_path / "kept")).denoiser
    monkeypatch.setattr("fgds_core.adapt.examples.KEPT_BYTES", 0)
    anew = read_record(learn(what, prepared, tmp_path / "anew")).denoiser
    assert kept is not None
    assert anew is not None
    for one, other in zip(kept.looks, anew.looks, strict=True):
        assert one.held_out == pytest.approx(other.held_out, rel=1e-4)


def test_only_the_classes_that_are_asked_for_teach(
    tiny_unclip: Path, prepared: Path, tmp_path: Path
) -> None:
    what = adaptation(generator_config(tiny_unclip), classes=("dog",))
    record = read_record(learn(what, prepared, tmp_path / "adapter"))
    assert record.num_learnt + record.num_held_out == COUNTS[1]


def test_captions_are_the_prompts_that_images_are_drawn_by(tiny_unclip: Path) -> None:
    prompts = ["a {group} {class}", "{class}"]
    recipe = Recipe(
        generator_config(tiny_unclip, prompts=prompts), synthesize_config(conditioning="text"), 0
    )
    part = Part(0, "red_owl", 0, 0, 20, ("deep_sea",) * 20)
    drawn = {request.prompt for request in plan_images(part, recipe, 5)}
    assert drawn == set(captions(prompts, "red_owl", "deep_sea"))


def test_of_each_class_some_images_are_held_out_and_some_are_not() -> None:
    labels = [0] * 50 + [1] * 5 + [2] * 4 + [3]
    learnt, held = split(labels, 0.1, 7)
    assert sorted(learnt + held) == list(range(len(labels)))
    assert [sum(labels[place] == label for place in held) for label in range(4)] == [5, 1, 0, 0]
    assert split(labels, 0.1, 7) == (learnt, held)
    assert split(labels, 0.1, 8)[1] != held


def curve(losses: list[float]) -> tuple[int, float]:
    """Where training ends whose held-out loss is given, and the weight that is left."""
    weight = torch.nn.Parameter(torch.zeros(()))
    told = iter(losses)
    found = fit([weight], lambda step: -weight, lambda: next(told), Schedule(100, 1e-3, 10, 2))
    return found.best_step, float(weight.detach())


def test_it_stops_when_held_out_images_say_so_and_keeps_the_best() -> None:
    step, weight = curve([5.0, 4.0, 3.0, 3.5, 3.5])
    assert step == 20
    assert 0 < weight < curve([5.0, 4.0, 3.0, 2.0, 3.5, 3.5])[1]
    assert curve([5.0, 6.0, 6.0]) == (0, 0.0)  # what helps nothing changes nothing


def test_without_held_out_images_it_learns_all_steps() -> None:
    weight = torch.nn.Parameter(torch.zeros(()))
    found = fit([weight], lambda step: -weight, None, Schedule(30, 1e-3, 10, 1))
    assert found.best_step == 30
    assert best_of([Look(0, None, None), Look(10, 1.0, None)]) == 10


def test_a_loss_that_is_no_number_ends_it() -> None:
    weight = torch.nn.Parameter(torch.zeros(()))
    with pytest.raises(InputError, match=r"adapt: the loss is nan at step 1; lower adapt\.learn"):
        fit([weight], lambda step: weight * torch.nan, None, Schedule(3, 1e-3, 1, 1))


def damage(folder: Path) -> None:
    (folder / "network.safetensors").write_bytes(b"damaged")


def remove(folder: Path) -> None:
    (folder / "adapter.json").unlink()


def another(folder: Path) -> None:
    save_file({"x": torch.zeros(1)}, folder / "network.safetensors")


@pytest.mark.parametrize("spoil", [damage, remove, another])
def test_an_adapter_that_is_spoiled_is_refused(
    spoil: Callable[[Path], None], tiny_unclip: Path, prepared: Path, tmp_path: Path
) -> None:
    config = generator_config(tiny_unclip)
    folder = learn(adaptation(config, num_steps=1), prepared, tmp_path / "adapter")
    spoil(folder)
    with pytest.raises(InputError, match=r"adapter.*adapt again"):
        adapted(load_generator(config), folder, apart=True, compile=False)


def test_what_a_class_is_called_that_was_learnt_is_no_reason_against_it() -> None:
    generator = generator_config(ROOT / "assets" / "tiny-unclip", prompts=["a photo of a {class}"])
    meta = SimpleNamespace(class_names=("zebra", "pizza", "coat"), groups=None)
    real: Any = SimpleNamespace(meta=meta)
    for classes, strange in ((["zebra"], {"pizza"}), (["zebra", "pizza", "coat"], set())):
        recipe = recipe_of(generator, synthesize_config(), 0, classes)
        assert set(unknown(recipe, real)[0]) == strange
    plain = recipe_of(generator, synthesize_config(), 0, ())
    assert type(plain) is Recipe
    assert set(unknown(plain, real)[0]) == {"zebra", "pizza"}
