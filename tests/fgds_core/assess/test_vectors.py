"""Laws of streaming: the size of a block changes no number, and nothing is larger than a block."""

import tracemalloc
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from far import FAR, far_device
from sets import image_set
from sizes import Sizes

from fgds_core.assess import closest, fidelity, vectors
from fgds_core.assess.features import Extractor
from fgds_core.assess.observe import observe
from fgds_core.assess.vectors import Features, write_vectors
from fgds_core.classify.network import create_classifier
from fgds_core.errors import InputError
from fgds_core.images.dataset import ImageDataset
from fgds_core.images.reading import Reading

CLASS_NAMES = ("cat", "dog")


def on_disk(path: Path, values: np.ndarray) -> Features:
    pieces = np.array_split(values.astype(np.float32), 3)
    return Features.of(write_vectors(path, len(values), pieces))


@pytest.fixture
def pair(tmp_path):
    """Real and synthetic features on disk, of 120 and 90 images."""
    rng = np.random.default_rng(0)
    real, synthetic = rng.normal(size=(120, 6)), 1.2 * rng.normal(size=(90, 6)) + 0.2
    return on_disk(tmp_path / "real", real), on_disk(tmp_path / "synthetic", synthetic)


def everything(real, synthetic, weights=None):
    """Every measure with its interval, each with its own randomness, by name."""

    def options():
        return {"min_images": 0, "rng": np.random.default_rng(1), "weights": weights}

    found = {
        "fid": fidelity.fid(real, synthetic, blocks=5, **options()),
        "kid": fidelity.kid(real, synthetic, subsets=4, subset_size=30, **options()),
        **fidelity.prdc(real, synthetic, nearest_k=3, has_interval=True, **options()),
    }
    return {
        (name, end): getattr(estimate, end)
        for name, estimate in found.items()
        for end in ("low", "value", "high")
    }


@pytest.mark.parametrize("is_weighted", [False, True])
def test_the_size_of_a_block_changes_no_measure(pair, monkeypatch, is_weighted):
    weights = np.arange(len(pair[0])) % 4 + 0.5 if is_weighted else None
    whole = everything(*pair, weights)
    in_memory = everything(*(f.values[f.rows] for f in pair), weights)
    monkeypatch.setitem(vectors.BLOCKS, "cpu", (7, 11))
    monkeypatch.setattr(fidelity, "MMD_ROWS", 7)
    assert in_memory == whole
    # Products of float32 may be summed in another order: KID's last digits
    assert everything(*pair, weights) == pytest.approx(whole, rel=1e-9, abs=1e-7)


def test_the_size_of_a_block_changes_no_neighbour(pair, monkeypatch):
    distances, indices = closest.nearest(*pair, 5)
    monkeypatch.setitem(vectors.BLOCKS, "cpu", (7, 11))
    for k in (1, 5):
        found, which = closest.nearest(*pair, k)
        assert found == pytest.approx(distances[:, :k])
        assert np.array_equal(which, indices[:, :k])
    every, _ = closest.nearest(*pair, 1000)  # more than a block holds, and than there are
    assert every.shape == (120, 90)
    assert (np.diff(every, axis=1) >= 0).all()


@pytest.mark.parametrize("num_blocks", [2, 3, 7])
def test_the_moments_without_a_block_are_those_of_the_others(pair, num_blocks):
    block = np.random.default_rng(2).permutation(120) % num_blocks
    weights = np.random.default_rng(3).uniform(0.5, 2, size=120)
    values = pair[0].array(np.arange(120))
    without = fidelity._without_each(pair[0], weights, block, num_blocks)
    for number, moments in enumerate(without):
        x, w = values[block != number], weights[block != number]
        root = moments.covariance_root.numpy()
        assert moments.mean.numpy() == pytest.approx(np.average(x, axis=0, weights=w))
        assert root.T @ root == pytest.approx(np.cov(x, rowvar=False, aweights=w))


def test_distances_are_made_where_the_features_are(pair, monkeypatch):
    monkeypatch.setitem(vectors.BLOCKS, "cpu", (32, 64))
    here = everything(*pair), closest.nearest(*pair, 3)
    assert Features.of(pair[0].values, FAR).device == "cpu"  # which may not know float64
    monkeypatch.setitem(vectors.BLOCKS, FAR, (32, 64))
    with far_device():
        far = [Features.of(features.values, FAR) for features in pair]
        assert {x.device.type for x in far for _, x in x.blocks(50)} == {FAR}
        there = everything(*far), closest.nearest(*far, 3)
    assert there[0] == pytest.approx(here[0], rel=1e-9)
    assert all(np.array_equal(a, b) for a, b in zip(here[1], there[1], strict=True))


def drawn(folder, num_images):
    rng = np.random.default_rng(0)
    return [on_disk(folder / name, rng.normal(size=(num_images, 3))) for name in "ab"]


def test_no_tensor_is_larger_than_a_block_and_lists_are_of_a_few_numbers_an_image(
    tmp_path, monkeypatch
):
    size, num_images = 128, 400
    monkeypatch.setitem(vectors.BLOCKS, "cpu", (size, size))
    real, synthetic = drawn(tmp_path, num_images)
    with Sizes() as sizes:
        everything(real, synthetic)
        closest.nearest(synthetic, real, 1)
    tables = {np.prod(shape, dtype=int) for shape in sizes.shapes if len(shape) > 1}
    candidates = 3 + 24 + 2 * 3  # an image
    assert max(tables) <= size * (size + candidates)
    longest = max(shape[0] for shape in sizes.shapes if shape)
    assert longest <= max(num_images * candidates, size * size)  # a block one row after the other


def test_memory_holds_a_few_numbers_an_image(tmp_path, monkeypatch):
    monkeypatch.setitem(vectors.BLOCKS, "cpu", (64, 128))
    num_images = 1000
    real, synthetic = drawn(tmp_path, num_images)
    few = [features.take(np.arange(50)) for features in (real, synthetic)]
    everything(*few)  # imports
    closest.nearest(few[1], few[0], 1)
    tracemalloc.start()
    try:
        everything(real, synthetic)
        closest.nearest(synthetic, real, 1)
        peak = tracemalloc.get_traced_memory()[1]  # bytes, of NumPy's arrays
    finally:
        tracemalloc.stop()
    # A boolean of each pair would be that much, a number four to eight times; the rest of the
    # process, which is counted too, was seen to take 0.3 of it
    assert peak < num_images**2


def test_rows_come_in_the_order_asked_for(pair):
    features, _ = pair
    order = np.array([5, 6, 7, 3, 3, 119, 0])
    assert np.array_equal(features.take(order).array(np.arange(7)), features.array(order))
    blocks = [x for _, x in features.take(order).blocks(3)]
    assert [len(x) for x in blocks] == [3, 3, 1]
    assert torch.cat(blocks).numpy() == pytest.approx(features.array(order))
    assert features.take(order[:0]).array(np.arange(0)).shape == (0, 6)


def test_a_file_that_was_cut_short_is_noticed(pair):
    path = pair[0].values.path
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(OSError, match="ends before row 119"):
        closest.nearest(*pair, 1)


def test_a_disk_without_room_is_told_of_at_the_first_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(vectors.shutil, "disk_usage", lambda _: SimpleNamespace(free=399))
    asked = []

    def batches():
        for _ in range(10):
            asked.append(1)
            yield np.zeros((1, 10), dtype=np.float32)

    with pytest.raises(InputError, match=r"need 0\.0 GB for a while in .*make room"):
        write_vectors(tmp_path / "features", 10, batches())
    assert len(asked) == 1


@pytest.fixture(scope="module")
def images():
    rng = torch.Generator().manual_seed(0)
    labels = [row % 2 for row in range(23)]
    return image_set(torch.rand(23, 3, 16, 16, generator=rng) * 2 - 1, labels, CLASS_NAMES)


@pytest.fixture(scope="module")
def networks():
    return [create_classifier("test_resnet", {}, CLASS_NAMES, 32, seed=k).eval() for k in (0, 1)]


def means(x):
    return x.mean(dim=(2, 3))


def test_the_size_of_a_batch_changes_no_answer(tmp_path, images, networks):
    baseline, judge = networks
    done = []
    one, many = (
        observe(
            images,
            tmp_path / str(size),
            Extractor("means", means, "cpu"),
            baseline=baseline,
            judge=lambda x: judge(x).softmax(dim=-1),
            reading=Reading(size, advance=done.append),
        )
        for size in (23, 7)
    )
    assert done == [23, 7, 7, 7, 2]
    assert len(many.features) == len(images)
    rows = np.arange(23)
    assert many.features.array(rows) == pytest.approx(one.features.array(rows), abs=1e-6)
    assert set(many.answers) == {
        *("predicted", "entropy", "loss"),
        *("judge_label", "judge_probability", "judge_margin"),
    }
    for name, answer in one.answers.items():
        assert many.answers[name] == pytest.approx(answer, abs=1e-5), name


def test_every_image_is_decoded_once_and_shown_to_one_network_once(
    tmp_path, images, networks, monkeypatch
):
    decoded, passes = [], []
    baseline, _ = networks
    get, answer = ImageDataset.__getitems__, baseline.logits_and_features
    monkeypatch.setattr(
        ImageDataset,
        "__getitems__",
        lambda self, rows: (decoded.append(list(rows)), get(self, rows))[1],
    )
    monkeypatch.setattr(
        baseline, "logits_and_features", lambda x: (passes.append(len(x)), answer(x))[1]
    )
    extract = Extractor("classifier", baseline.features, "cpu", baseline)
    seen = observe(
        images, tmp_path / "a", extract, baseline=baseline, judge=baseline, reading=Reading(8)
    )
    assert list(chain.from_iterable(decoded)) == list(range(23))
    assert passes == [8, 8, 7]
    assert np.array_equal(seen.answers["predicted"], seen.answers["judge_label"])
