"""Who lies in whose ball, beside exact arithmetic; and the bounds that decide most pairs."""

from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
import torch
from sklearn.metrics import pairwise_distances

from fgds_core.assess import balls, closest, fidelity, vectors
from fgds_core.assess.distances import Side, lower_bounds, sides, upper_bounds
from fgds_core.assess.vectors import Features


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def float32(*sets):
    return tuple(np.asarray(x, dtype=np.float32) for x in sets)


def small_lattice(rng):
    """Small whole numbers: many distances are equal, and nothing is rounded."""
    return float32(rng.integers(0, 3, (40, 3)), rng.integers(0, 3, (30, 3)))


def large_lattice(rng):
    """Whole numbers that float32 products round and float64 does not."""
    return float32(5000 * rng.integers(0, 3, (40, 3)) + 1, 5000 * rng.integers(0, 3, (30, 3)) + 1)


def tenths(rng):
    """Numbers that would be equal if they were not rounded themselves."""
    return float32(rng.integers(0, 4, (30, 3)) * 0.1, rng.integers(0, 4, (30, 3)) * 0.1)


def turned(rng):
    """Orders of the same numbers: equal distances are sums of other terms."""
    points = np.array(list(permutations(rng.normal(size=5))))
    chosen = rng.permutation(len(points))
    return float32(points[chosen[:30]], points[chosen[30:55]])


def copies(rng):
    """Some synthetic images repeat real ones, which lie on the surface of other real balls."""
    real = 1000 + rng.normal(size=(30, 4))
    return float32(real, np.concatenate([real[:20], 1000 + rng.normal(size=(8, 4))]))


def repeats(rng):
    """Some images are there twice, in both sets."""
    real, synthetic = rng.normal(size=(25, 4)), rng.normal(size=(22, 4))
    return float32(np.concatenate([real, real[:12]]), np.concatenate([synthetic, synthetic[5:]]))


def clusters(rng):
    """Images of a class lie far closer together than classes do."""
    centres = 100 * rng.normal(size=(2, 4))
    return float32(
        *(centres[rng.integers(0, 2, n)] + 1e-3 * rng.normal(size=(n, 4)) for n in (30, 24))
    )


def outlier(rng):
    """One image is nothing like the others."""
    real, synthetic = rng.normal(size=(30, 4)), rng.normal(size=(25, 4))
    real[7] *= 1e6
    return float32(real, synthetic)


KINDS = (small_lattice, large_lattice, tenths, turned, copies, repeats, clusters, outlier)


def by_fractions(real, synthetic, k):
    """Which synthetic images real balls hold, and the reverse, [N, M], without rounding."""

    def pairs(a, b):
        return [[sum((x - y) ** 2 for x, y in zip(p, q, strict=True)) for q in b] for p in a]

    def radii(distances):
        return [sorted(row)[k] for row in distances]

    one, other = ([[Fraction(x) for x in row] for row in x.tolist()] for x in (real, synthetic))
    across = pairs(one, other)
    inside = [[d < r for d in row] for row, r in zip(across, radii(pairs(one, one)), strict=True)]
    others = radii(pairs(other, other))
    return np.array(inside), np.array(
        [[d < r for d, r in zip(row, others, strict=True)] for row in across]
    )


def shares(inside, inside_synthetic, k):
    return {
        "precision": inside.any(0).mean(),
        "recall": inside_synthetic.any(1).mean(),
        "density": inside.sum(0).mean() / k,
        "coverage": inside.any(1).mean(),
    }


def prdc(real, synthetic, k=3):
    options = dict(nearest_k=k, min_images=0, has_interval=False, rng=np.random.default_rng(0))
    return fidelity.prdc(real, synthetic, **options)


def values(estimates):
    return {name: estimate.value for name, estimate in estimates.items()}


@pytest.mark.parametrize("size", [2048, 7])
@pytest.mark.parametrize("kind", KINDS)
def test_membership_is_that_of_exact_arithmetic(rng, monkeypatch, kind, size):
    monkeypatch.setitem(vectors.BLOCKS, "cpu", (size, size))
    monkeypatch.setattr(balls, "MAX_EMPTY", 1)  # where images repeat it is defined, too
    real, synthetic = kind(rng)
    for k in (1, 4):
        inside, inside_synthetic = by_fractions(real, synthetic, k)
        found = balls.membership(Features.of(real), Features.of(synthetic), k)
        assert found.around.tolist() == inside.sum(0).tolist()
        assert found.covered.tolist() == inside.any(1).tolist()
        assert found.recalled.tolist() == inside_synthetic.any(1).tolist()


@pytest.mark.parametrize("kind", [small_lattice, turned, copies, clusters])
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_the_precision_of_products_changes_no_answer(rng, monkeypatch, kind, precision):
    real, synthetic = kind(rng)
    expected = values(prdc(real, synthetic))
    monkeypatch.setattr(Side, "precisions", (precision,))
    assert values(prdc(real, synthetic)) == expected


def test_it_is_right_where_prdc_rounds():
    """prdc's distances are scikit-learn's, in the precision of the features."""
    real, synthetic = float32([[0, 0, 0], [32768, 0, 0]], [[32767, 255, 22], [-9000, 0, 0]])
    # 32767^2 + 255^2 + 22^2 = 32768^2 - 26, and the other one lies in the first ball alone
    radii = np.sort(pairwise_distances(real), axis=1)[:, 1]
    rounded = pairwise_distances(real, synthetic) < radii[:, None]
    inside, inside_synthetic = by_fractions(real, synthetic, 1)
    assert (rounded.sum(), inside.sum()) == (2, 3)
    assert values(prdc(real, synthetic, 1)) == shares(inside, inside_synthetic, 1)


@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_bounds_hold_in_every_precision(rng, offset):
    real, synthetic = float32(
        rng.normal(size=(60, 300)) * rng.uniform(0.1, 5, size=(60, 1)) + offset,
        rng.normal(size=(50, 300)) + offset,
    )
    one, other = sides(Features.of(real), Features.of(synthetic))
    exact = np.array([[((x - y) ** 2).sum() for y in synthetic.astype(float)] for x in real])
    exact *= one.space.scale**2
    i, j = np.indices(exact.shape).reshape(2, -1)
    widths = []
    for precision in one.precisions:
        rows, columns = (x.block(slice(0, len(x)), precision) for x in (one, other))
        lower = lower_bounds(rows, columns)
        upper = upper_bounds(
            lower.flatten(), one.squares[i], other.squares[j], one.space, precision
        )
        assert (lower.double().numpy() <= exact).all()
        assert (upper.numpy() >= exact.flatten()).all()
        widths.append(float((upper - lower.flatten()).mean()))
    lower, upper = one.bounds(other, torch.from_numpy(i), torch.from_numpy(j))
    assert (lower.numpy() <= exact.flatten()).all()
    assert (upper.numpy() >= exact.flatten()).all()
    assert widths == sorted(widths, reverse=True)


def test_most_pairs_are_decided_by_bounds_alone(rng, monkeypatch):
    asked = []
    gaps = balls.squared_gaps
    monkeypatch.setattr(
        balls, "squared_gaps", lambda x, y, i, j: (asked.append(len(i)), gaps(x, y, i, j))[1]
    )
    real, synthetic = float32(rng.normal(size=(300, 64)), rng.normal(size=(250, 64)))
    prdc(real, synthetic)
    assert sum(asked) < 0.01 * len(real) * len(synthetic)


def test_a_generator_that_repeats_one_image_recalls_nothing(rng):
    real = rng.normal(size=(50, 4))
    found = values(prdc(real, np.repeat(real[:1] + 1e-3, 40, axis=0)))
    assert found["precision"] == 1
    assert found["recall"] == 0
    assert 0 < found["coverage"] < 0.5


def test_repeated_real_images_are_refused_where_they_are_many(rng):
    real, synthetic = rng.normal(size=(60, 4)), rng.normal(size=(50, 4))
    few, many = real.copy(), real.copy()
    few[:5], many[:7] = few[0], many[0]  # each there more than three times
    assert values(prdc(few, synthetic))["coverage"] is not None
    refused = prdc(many, synthetic)
    assert set(values(refused).values()) == {None}
    assert refused["coverage"].reason.startswith("7 of 60 real images are there more than 3 times")


def test_what_cannot_be_told_is_refused_with_a_reason(rng, monkeypatch):
    real, synthetic = turned(rng)
    for module in (balls, closest):
        monkeypatch.setattr(module, "MAX_FRACTIONS", 0)
    assert "same distance, to rounding" in prdc(real, synthetic)["recall"].reason
    real[3, 1] = np.nan
    assert "not finite" in prdc(real, synthetic)["density"].reason


def test_kid_of_float32_features_is_that_of_float64(rng):
    real, synthetic = float32(
        np.maximum(rng.normal(size=(90, 64)), 0), np.maximum(rng.normal(size=(70, 64)), 0.1)
    )
    weights = rng.uniform(0.5, 2, size=90)
    for its in (None, weights):
        assert fidelity.mmd2(real, synthetic, its) == pytest.approx(
            fidelity.mmd2(real.astype(float), synthetic.astype(float), its), abs=1e-7
        )


def test_the_nearest_are_in_order_and_of_equal_ones_the_first(rng):
    points, _ = small_lattice(rng)
    distances, index = closest.nearest(points, points, 5)
    every = ((points[:, None] - points[None]).astype(float) ** 2).sum(-1)
    order = np.argsort(every, axis=1, kind="stable")[:, :5]
    assert np.array_equal(index, order)
    assert np.array_equal(distances, np.sqrt(np.take_along_axis(every, order, axis=1)))
