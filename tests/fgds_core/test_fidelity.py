"""Laws of the fidelity measures."""

import numpy as np
import pytest
from cleanfid.fid import frechet_distance

from fgds_core import fidelity

NO_FEWEST = {"min_images": 0}


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def naive_prdc(real, synthetic, k):
    """The definitions, with all pairs at once."""

    def pairs(a, b):
        return np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))

    radius_real = np.sort(pairs(real, real), axis=1)[:, k]
    radius_synthetic = np.sort(pairs(synthetic, synthetic), axis=1)[:, k]
    across = pairs(real, synthetic)
    return {
        "precision": (across < radius_real[:, None]).any(0).mean(),
        "recall": (across < radius_synthetic[None]).any(1).mean(),
        "density": (across < radius_real[:, None]).sum(0).mean() / k,
        "coverage": (across.min(1) < radius_real).mean(),
    }


def prdc_values(real, synthetic, k):
    estimates = fidelity.prdc(
        real,
        synthetic,
        nearest_k=k,
        min_images=0,
        bootstrap_samples=0,
        rng=np.random.default_rng(0),
    )
    return {name: estimate.value for name, estimate in estimates.items()}


def test_identical_sets_are_at_no_distance_and_cover_each_other(rng):
    x = rng.normal(size=(300, 6)).astype(np.float32)
    estimate = fidelity.fid(x, x, min_images=10, blocks=0, rng=rng)
    values = prdc_values(x, x, 5)

    assert estimate.value == pytest.approx(0, abs=1e-6)
    assert values["precision"] == values["recall"] == values["coverage"] == 1
    # each image lies in its own ball and, by definition, in k - 1 others on average
    assert values["density"] == pytest.approx(1, abs=0.01)


def test_frechet_distance_of_gaussians_with_known_moments(rng):
    # Whitening makes the sample moments exact, so the closed form must hold to rounding.
    def exact(mean, std, n):
        x = rng.normal(size=(n, len(mean)))
        x -= x.mean(0)
        x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
        return x * std + mean

    m1, s1 = np.array([0.0, 1.0, -2.0]), np.array([1.0, 2.0, 0.5])
    m2, s2 = np.array([1.0, 1.0, 1.0]), np.array([3.0, 1.0, 0.5])
    expected = ((m1 - m2) ** 2).sum() + ((s1 - s2) ** 2).sum()  # commuting covariances

    estimate = fidelity.fid(exact(m1, s1, 400), exact(m2, s2, 250), blocks=0, rng=rng, **NO_FEWEST)

    assert estimate.value == pytest.approx(expected, rel=1e-6)
    assert (estimate.num_real, estimate.num_synthetic) == (400, 250)


def test_frechet_distance_is_that_of_clean_fid(rng):
    real, synthetic = (
        rng.normal(size=(300, 20)),
        rng.normal(size=(200, 20)) @ rng.normal(size=(20, 20)),
    )
    expected = frechet_distance(
        real.mean(0),
        np.cov(real, rowvar=False),
        synthetic.mean(0),
        np.cov(synthetic, rowvar=False),
    )
    assert fidelity.frechet(real, synthetic) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_needs_no_more_images_than_features(rng):
    # Turning both sets changes no distance, but hides that only 6 of 40 features vary.
    turn = np.linalg.qr(rng.normal(size=(40, 40)))[0][:6]
    real, synthetic = rng.normal(size=(30, 6)), 2 * rng.normal(size=(30, 6)) + 1
    assert fidelity.frechet(real @ turn, synthetic @ turn) == pytest.approx(
        fidelity.frechet(real, synthetic), rel=1e-9
    )


def test_fid_interval_holds_the_value_and_shrinks_with_the_sample(rng):
    def width(n):
        real, synthetic = rng.normal(size=(n, 4)), rng.normal(size=(n, 4)) + 0.5
        e = fidelity.fid(real, synthetic, blocks=10, rng=rng, **NO_FEWEST)
        assert e.low <= e.value <= e.high
        return e.high - e.low

    assert width(4000) < width(200)


def test_fid_is_refused_below_the_stated_minimum(rng):
    x = rng.normal(size=(99, 4))
    estimate = fidelity.fid(x, rng.normal(size=(500, 4)), min_images=100, blocks=5, rng=rng)
    assert (estimate.value, estimate.low, estimate.high) == (None, None, None)
    assert "100" in estimate.reason
    assert "99" in estimate.reason


def test_kid_of_one_distribution_is_zero_within_its_interval(rng):
    settings = dict(min_images=0, subsets=40, subset_size=200)
    same = fidelity.kid(rng.normal(size=(600, 8)), rng.normal(size=(500, 8)), rng=rng, **settings)
    other = fidelity.kid(
        rng.normal(size=(600, 8)), rng.normal(size=(500, 8)) + 1, rng=rng, **settings
    )
    assert same.low <= 0 <= same.high
    assert other.low > same.high


def test_mmd_is_the_mean_over_distinct_pairs(rng):
    x, y = rng.normal(size=(5, 3)), rng.normal(size=(4, 3))

    def kernel(a, b):
        return (a @ b / 3 + 1) ** 3

    xx = np.mean([kernel(x[i], x[j]) for i in range(5) for j in range(5) if i != j])
    yy = np.mean([kernel(y[i], y[j]) for i in range(4) for j in range(4) if i != j])
    xy = np.mean([kernel(a, b) for a in x for b in y])
    assert fidelity.mmd2(x, y) == pytest.approx(xx + yy - 2 * xy)


def test_kid_interval_covers_the_whole_sample_estimate_even_when_subsets_could_hold_all(rng):
    real, synthetic = rng.normal(size=(60, 4)), rng.normal(size=(60, 4)) + 0.3
    estimate = fidelity.kid(real, synthetic, min_images=0, subsets=50, subset_size=1000, rng=rng)
    assert estimate.low < fidelity.mmd2(real, synthetic) < estimate.high


@pytest.mark.parametrize("k", [1, 3, 5])
def test_prdc_by_chunks_equals_the_definition(rng, monkeypatch, k):
    monkeypatch.setattr(fidelity, "CHUNK", 7)  # several uneven chunks
    real, synthetic = rng.normal(size=(40, 5)), rng.normal(size=(31, 5)) * 1.3
    assert prdc_values(real, synthetic, k) == pytest.approx(naive_prdc(real, synthetic, k))


def test_prdc_on_points_made_by_hand():
    # Real points on a line at 0, 1, 2, 10: radii of their balls (k = 1) are 1, 1, 1, 8.
    real = np.array([[0.0], [1.0], [2.0], [10.0]])
    # 0.5 is inside the balls of 0 and 1; 30 and 31 are in none.
    synthetic = np.array([[0.5], [30.0], [31.0]])
    values = prdc_values(real, synthetic, 1)

    assert values["precision"] == pytest.approx(1 / 3)
    assert values["density"] == pytest.approx(2 / 3)
    assert values["coverage"] == pytest.approx(2 / 4)
    # the synthetic ball around 0.5 reaches 29.5 and holds all real points
    assert values["recall"] == 1


def test_prdc_intervals_hold_the_values_and_repeat_with_the_seed(rng):
    real, synthetic = rng.normal(size=(200, 5)), rng.normal(size=(150, 5)) + 1

    def run():
        return fidelity.prdc(
            real,
            synthetic,
            nearest_k=5,
            min_images=0,
            bootstrap_samples=200,
            rng=np.random.default_rng(3),
        )

    for estimate in run().values():
        assert estimate.low <= estimate.value <= estimate.high
        assert estimate.low < estimate.high
    assert run() == run()


def test_prdc_without_enough_neighbours_says_so(rng):
    estimates = fidelity.prdc(
        rng.normal(size=(5, 3)),
        rng.normal(size=(50, 3)),
        nearest_k=5,
        min_images=0,
        bootstrap_samples=0,
        rng=rng,
    )
    assert {e.value for e in estimates.values()} == {None}
    assert all("6" in e.reason for e in estimates.values())


def test_nearest_finds_the_closest_references(rng):
    references = rng.normal(size=(50, 4))
    distances, indices = fidelity.nearest(references[[3, 17]] + 1e-6, references, 3)
    assert indices[:, 0].tolist() == [3, 17]
    assert (np.diff(distances, axis=1) >= 0).all()
    assert distances[:, 0] == pytest.approx(2e-6, rel=0.01)
    assert fidelity.nearest(references[:2], references[:2], 9)[1].shape == (2, 2)
