"""What conditions an image: its own real image's embedding, or a mixture of several."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from micro import generator_config, synthesize_config
from sets import image_set

from fgds_core.data.meta import Meta
from fgds_core.diffusion.noise import stream
from fgds_core.errors import InputError
from fgds_core.generators.load import load_generator
from fgds_core.generators.model import Generator
from fgds_core.images.dataset import ImageDataset
from fgds_core.images.pixels import from_uint8
from fgds_core.synthesis.condition import embed
from fgds_core.synthesis.embeddings import MIXTURES, Mixture, load_mixture
from fgds_core.synthesis.embeddings.pool import Pool, pool_of
from fgds_core.synthesis.embeddings.slerp import slerp
from fgds_core.synthesis.embeddings.transfer import MOST, transferred
from fgds_core.synthesis.plan import plan_of
from fgds_core.synthesis.request import ImageRequest

NAMES = ("cat", "dog", "owl")
D = 6


def vectors(number: int, seed: int = 0) -> torch.Tensor:
    """Random embeddings of about the norm of real ones, [number, D]."""
    return 3 * torch.randn(number, D, generator=stream(seed, "vectors"), dtype=torch.float64)


def rng(seed: int = 0) -> torch.Generator:
    return stream(seed, "test")


def combined(name: str, own: torch.Tensor, others: torch.Tensor, share: float) -> torch.Tensor:
    return load_mixture(name).combine(own, others, share, rng())


# What is computed


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_slerp_is_shoemakes_formula_at_norms_in_between(share: float) -> None:
    a, b = vectors(2)
    angle = math.acos(float(a @ b / a.norm() / b.norm()))
    weights = math.sin((1 - share) * angle), math.sin(share * angle)
    direction = (weights[0] * a / a.norm() + weights[1] * b / b.norm()) / math.sin(angle)
    there = slerp(a, b, share)
    torch.testing.assert_close(there, direction * torch.lerp(a.norm(), b.norm(), share))


def test_slerp_of_vectors_of_one_norm_stays_on_their_sphere() -> None:
    a, b = torch.nn.functional.normalize(vectors(2), dim=1)
    for share in torch.linspace(0, 1, 7).tolist():
        assert float(slerp(a, b, share).norm()) == pytest.approx(1)
    torch.testing.assert_close(slerp(a, a, 0.4), a)


def test_the_share_of_a_slerp_is_drawn_evenly_up_to_the_largest() -> None:
    a, b = torch.nn.functional.normalize(vectors(2), dim=1)
    angle, mixture = math.acos(float(a @ b)), load_mixture("slerp")
    gone = torch.tensor(
        [
            math.acos(float(a @ mixture.combine(a, b[None], 0.6, rng(seed)))) / angle
            for seed in range(400)
        ]
    )
    assert 0 <= float(gone.min()) < 0.02
    assert 0.58 < float(gone.max()) <= 0.6
    assert float(gone.mean()) == pytest.approx(0.3, abs=4 * 0.6 / 12**0.5 / 20)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_transfer_has_the_mean_of_its_class_and_the_covariance_that_was_transferred(
    share: float,
) -> None:
    """Over all pairs of images the moments are those of the images themselves, exactly."""
    own, other = vectors(5), vectors(4, seed=1) @ vectors(D, seed=2) + 7
    drawn = torch.stack(
        [
            transferred(image, own.mean(dim=0), torch.stack([other[a], other[b]]), share)
            for image in own
            for a in range(4)
            for b in range(4)
            if a != b
        ]
    )
    torch.testing.assert_close(drawn.mean(dim=0), own.mean(dim=0))
    expected = (1 - share) ** 2 * torch.cov(own.T, correction=0) + share * torch.cov(other.T)
    torch.testing.assert_close(torch.cov(drawn.T, correction=0), expected)


def test_transfer_is_brought_back_to_the_norm_of_its_class() -> None:
    own, pair, of_class = vectors(1)[0], vectors(2, seed=1), vectors(5, seed=2)
    others = torch.cat([pair, of_class])
    mixed = combined("transfer", own, others, 1.0)
    assert float(mixed.norm()) == pytest.approx(float(of_class.norm(dim=1).mean()))
    direction = of_class.mean(dim=0) + (pair[0] - pair[1]) / math.sqrt(2)
    cosine = torch.nn.functional.cosine_similarity(mixed, direction, dim=0)
    assert float(cosine) == pytest.approx(1)


@pytest.mark.parametrize("name", MIXTURES)
def test_a_share_of_0_is_the_conditioning_image(name: str) -> None:
    own, others = vectors(1)[0], vectors(4, seed=1)
    torch.testing.assert_close(combined(name, own, others, 0.0), own)


def test_all_of_any_class_is_the_other_image_and_half_of_it_lies_between() -> None:
    own, other = vectors(2)
    torch.testing.assert_close(combined("any_class", own, other[None], 1.0), other)
    half = combined("any_class", own, other[None], 0.5)
    assert float(half.norm()) == pytest.approx(float(own.norm() + other.norm()) / 2)
    middle = own + other
    torch.testing.assert_close(half / half.norm(), middle / middle.norm())


# What is mixed


def pool(labels: Sequence[int], groups: Sequence[int] | None = None) -> Pool:
    return Pool(torch.tensor(labels), torch.tensor(groups or [0] * len(labels)))


def chosen(name: str, row: int, of: Pool, times: int = 200) -> list[list[int]]:
    """What so many images choose that are conditioned on one row."""
    return [load_mixture(name).choose(row, of, rng(seed)) for seed in range(times)]


def test_slerp_takes_another_image_of_the_class_and_group() -> None:
    assert {row for (row,) in chosen("slerp", 0, pool([0, 1, 0, 0]))} == {2, 3}
    assert {row for (row,) in chosen("slerp", 0, pool([0, 0, 0, 1], [0, 1, 0, 0]))} == {2}


def test_slerp_of_the_only_image_of_a_class_is_that_image() -> None:
    assert chosen("slerp", 1, pool([0, 1, 0]), times=1) == [[1]]
    own = vectors(1)
    torch.testing.assert_close(combined("slerp", own[0], own, 1.0), own[0])


def test_transfer_takes_two_images_of_one_other_class_by_its_size() -> None:
    of = pool([0, 0, 1, 2, 2, 2, 3, 3, 3, 3, 3, 3])
    drawn = chosen("transfer", 0, of, times=600)
    pairs = [(a, b) for a, b, *_ in drawn]
    assert all(a != b and of.labels[a] == of.labels[b] for a, b in pairs)
    assert {int(of.labels[a]) for a, _ in pairs} == {2, 3}  # class 1 has one image
    share = sum(int(of.labels[a]) == 3 for a, _ in pairs) / len(pairs)
    assert share == pytest.approx(6 / 9, abs=4 * (2 / 9 / 600) ** 0.5)
    assert all(rest == [0, 1] for _, _, *rest in drawn)  # those of its class


def test_transfer_stays_within_the_group_where_it_can() -> None:
    #         0  1  2  3  4  5  6  7
    labels = [0, 0, 1, 1, 1, 2, 2, 2]
    groups = [0, 1, 0, 1, 1, 0, 1, 1]
    near = chosen("transfer", 1, pool(labels, groups))
    assert {frozenset(pair) for *pair, _ in near} == {frozenset({3, 4}), frozenset({6, 7})}
    assert {mean for *_, mean in near} == {1}
    far = chosen("transfer", 0, pool(labels, groups))  # no class has two images in its group
    assert {row for *pair, _ in far for row in pair} == {2, 3, 4, 5, 6, 7}


def test_a_mean_is_of_so_many_images_spread_over_the_class() -> None:
    (drawn,) = chosen("transfer", 0, pool([0] * 1000 + [1, 1]), times=1)
    spread = drawn[2:]
    assert len(set(spread)) == len(spread) == MOST
    gaps = {after - before for before, after in pairwise(spread)}
    assert gaps <= {1000 // MOST, 1000 // MOST + 1}


def test_transfer_without_a_class_to_take_from_is_refused() -> None:
    with pytest.raises(InputError, match=r"embedding_mix: got transfer, but no other class"):
        chosen("transfer", 0, pool([0, 0, 1]), times=1)
    counts = {split: (9, 1, 1) for split in ("train", "val", "test")}
    meta = Meta(NAMES, 16, counts, {}, None, {}, {})
    config = synthesize_config(embedding_mix="transfer", target_per_class=9)
    assert plan_of(meta, config).wanted == (0, 8, 8)  # the first class needs none
    with pytest.raises(InputError, match=r"embedding_mix: got transfer, but no other class"):
        plan_of(meta, synthesize_config(embedding_mix="transfer", target_per_class=10))


def test_any_class_takes_any_image_of_the_group() -> None:
    assert {row for (row,) in chosen("any_class", 0, pool([0, 1, 0, 2]))} == {0, 1, 2, 3}
    assert {row for (row,) in chosen("any_class", 0, pool([0, 1, 2], [0, 1, 0]))} == {0, 2}


# What a part does with it


@pytest.fixture(scope="module")
def real() -> ImageDataset:
    images = torch.rand(12, 3, 16, 16, generator=stream(0, "real")) * 2 - 1
    groups = tuple("indoors" if i < 6 else "outdoors" for i in range(12))
    return image_set(images, torch.arange(12) % 3, NAMES, groups)


class Tower:
    """Embeds an image as its first pixels, and counts."""

    def __init__(self) -> None:
        self.num_images = 0

    def embed_images(self, x: torch.Tensor) -> torch.Tensor:
        self.num_images += len(x)
        return x.flatten(1)[:, :D].double()


def requests(*indices: int, label: int = 2) -> list[ImageRequest]:
    """Images of a class, each conditioned on one of its four real images."""
    return [ImageRequest(label, NAMES[label], i, 1000 + i, "", i % 4) for i in indices]


def embedded(real: ImageDataset, *indices: int, batch_size: int = 3, **changes: Any) -> Any:
    tower: Any = Tower()
    return embed(tower, requests(*indices), real, synthesize_config(**changes), batch_size)


def test_without_a_mixture_an_image_is_told_of_its_own_real_image(real: ImageDataset) -> None:
    own = from_uint8(real.of_class(2).__getitems__(range(4))).flatten(1)[:, :D].double()
    told = embedded(real, 4, 5, 6)
    assert list(told) == [4, 5, 6]
    torch.testing.assert_close(torch.stack(list(told.values())), own[:3], rtol=0, atol=0)


@pytest.mark.parametrize("name", MIXTURES)
def test_a_mixture_follows_from_the_seed_of_its_image_alone(real: ImageDataset, name: str) -> None:
    mix = {"embedding_mix": name, "embedding_mix_share": 0.7}
    whole = embedded(real, *range(9), **mix)
    alone = embedded(real, 7, batch_size=1, **mix)
    assert torch.equal(whole[7], alone[7])
    assert len({tuple(told.tolist()) for told in whole.values()}) == 9
    plain = embedded(real, 7)
    assert not torch.allclose(plain[7], whole[7])


@pytest.mark.parametrize(("name", "more"), [("slerp", 1), ("transfer", 2), ("any_class", 1)])
def test_a_part_embeds_few_images_however_large_the_data(name: str, more: int) -> None:
    labels = torch.tensor([0] * 300 + [1] * 100)
    large = image_set(torch.zeros(400, 3, 8, 8), labels, ("cat", "dog"))
    tower: Any = Tower()
    config = synthesize_config(embedding_mix=name)
    embed(tower, [replace(r, label=0) for r in requests(0, 1, 2)], large, config, 8)
    assert tower.num_images <= 3 * (1 + more) + (MOST if name == "transfer" else 0)


def test_a_mixture_keeps_the_precision_of_the_generator(real: ImageDataset) -> None:
    half: Any = SimpleNamespace(embed_images=lambda x: x.flatten(1)[:, :D].half())
    for name in MIXTURES:
        config = synthesize_config(embedding_mix=name)
        assert embed(half, requests(0), real, config, 2)[0].dtype == torch.float16


def test_text_alone_embeds_nothing(real: ImageDataset) -> None:
    text = [replace(request, conditioning_id=None) for request in requests(0, 1)]
    tower: Any = Tower()
    assert embed(tower, text, real, synthesize_config(conditioning="text"), 2) == {}
    assert tower.num_images == 0


@pytest.mark.parametrize("name", ["stable-unclip", "stable-diffusion, ip-adapter"])
def test_generators_of_image_embeddings_take_mixtures(
    tiny_generators: dict[str, Any], name: str, real: ImageDataset
) -> None:
    generator: Generator = load_generator(generator_config(**tiny_generators[name]))
    for mix in MIXTURES:
        told = embed(generator, requests(0, 1), real, synthesize_config(embedding_mix=mix), 2)
        embeddings = torch.stack(list(told.values()))
        condition = generator.condition_on(embeddings, 0, torch.zeros_like(embeddings))
        assert all(value.isfinite().all() for value in condition.values())


def test_groups_have_numbers_and_data_without_groups_one(real: ImageDataset) -> None:
    assert pool_of(real).groups.tolist() == [0] * 6 + [1] * 6
    without = image_set(torch.zeros(3, 3, 8, 8), [0, 1, 2], NAMES)
    assert pool_of(without).groups.tolist() == [0, 0, 0]


def test_every_mixture_is_one() -> None:
    loaded = {name: load_mixture(name) for name in MIXTURES}
    assert all(isinstance(mixture, Mixture) for mixture in loaded.values())
    assert {name for name, mixture in loaded.items() if mixture.of_others} == {
        "transfer",
        "any_class",
    }
