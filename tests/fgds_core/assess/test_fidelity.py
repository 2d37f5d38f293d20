"""Laws of the fidelity measures."""

import numpy as np
import pytest
from cleanfid.fid import frechet_distance
from scipy.stats import binomtest

from fgds_core.assess import closest, fidelity, vectors
from fgds_core.assess.estimates import spread_interval

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
        has_interval=False,
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
    monkeypatch.setitem(vectors.BLOCKS, "cpu", (7, 11))  # several uneven blocks
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
            has_interval=True,
            rng=np.random.default_rng(3),
        )

    for estimate in run().values():
        assert estimate.low <= estimate.value <= estimate.high
        assert estimate.low < estimate.high
    assert run() == run()


def test_prdc_intervals_hold_the_mean_of_other_draws(rng):
    """Other real images make other balls: a bootstrap with fixed ones held 0.08 to 0.9 of them."""
    found = {}
    for _ in range(40):
        real, synthetic = rng.normal(size=(60, 8)), 0.8 * rng.normal(size=(60, 8))
        options = dict(nearest_k=5, min_images=0, has_interval=True, rng=rng)
        for name, each in fidelity.prdc(real, synthetic, **options).items():
            found.setdefault(name, []).append((each.value, each.low, each.high))
    for name, estimates in found.items():
        values, low, high = np.array(estimates).T
        assert ((low <= values.mean()) & (values.mean() <= high)).mean() >= 0.85, name  # 0.95
        assert (high - low).mean() < 8 * values.std() + 0.05, name  # 4 would be exact


def test_halves_of_many_images_end_at_a_size(rng, monkeypatch):
    monkeypatch.setattr(fidelity, "HALF", 30)
    sizes = set()
    membership = fidelity.membership
    monkeypatch.setattr(
        fidelity,
        "membership",
        lambda real, synthetic, k: (
            sizes.add((len(real), len(synthetic))),
            membership(real, synthetic, k),
        )[1],
    )
    real, synthetic = rng.normal(size=(400, 4)), rng.normal(size=(100, 4))
    options = dict(nearest_k=5, min_images=0, rng=rng)
    small = fidelity.prdc(real, synthetic, has_interval=True, **options)
    assert sizes == {(400, 100), (60, 15)}
    assert all(each.low < each.value < each.high for each in small.values())
    few = fidelity.prdc(real, synthetic[:9], has_interval=True, **options)
    assert few["recall"].value is not None
    assert few["recall"].low is None  # half of nine hold no ball


def test_an_interval_of_a_share_is_that_of_as_many_images_as_its_variance_leaves():
    for hits, number in ((32, 100), (8, 25)):
        found = spread_interval(0.32, 0.32 * 0.68 / number, 10**6, 100)
        expected = binomtest(hits, number).proportion_ci(method="wilson")
        assert found == pytest.approx((expected.low, expected.high), abs=0.01)
    low, high = spread_interval(1.0, 0.0, 19, 50)
    assert 0.8 < low < 0.95  # one that has never failed may fail
    assert high == 1
    assert spread_interval(0.5, 0.04, 10**6, None) == pytest.approx((0.108, 0.892), abs=1e-3)
    assert spread_interval(0.1, 0.04, 19, None)[0] == 0


def test_prdc_without_enough_neighbours_says_so(rng):
    estimates = fidelity.prdc(
        rng.normal(size=(5, 3)),
        rng.normal(size=(50, 3)),
        nearest_k=5,
        min_images=0,
        has_interval=False,
        rng=rng,
    )
    assert {e.value for e in estimates.values()} == {None}
    assert all("6" in e.reason for e in estimates.values())


def test_nearest_finds_the_closest_references(rng):
    references = rng.normal(size=(50, 4))
    distances, indices = closest.nearest(references[[3, 17]] + 1e-6, references, 3)
    assert indices[:, 0].tolist() == [3, 17]
    assert (np.diff(distances, axis=1) >= 0).all()
    assert distances[:, 0] == pytest.approx(2e-6, rel=0.01)
    assert closest.nearest(references[:2], references[:2], 9)[1].shape == (2, 2)


# Weights of real images -----------------------------------------------------------------------


def measured(real, synthetic, weights, k=3):
    """Every measure without chance, by name."""
    options = dict(min_images=0, rng=np.random.default_rng(0), weights=weights)
    prdc = fidelity.prdc(real, synthetic, nearest_k=k, has_interval=False, **options)
    return {
        "fid": fidelity.fid(real, synthetic, blocks=0, **options).value,
        "mmd2": fidelity.mmd2(real, synthetic, weights),
        **{name: estimate.value for name, estimate in prdc.items()},
    }


@pytest.fixture
def weighted(rng):
    real, synthetic = rng.normal(size=(40, 5)), rng.normal(size=(31, 5)) * 1.3
    return real, synthetic, rng.integers(1, 5, size=40).astype(float)


@pytest.mark.parametrize("weight", [1.0, 0.25, 7])
def test_equal_weights_are_none(weighted, weight):
    real, synthetic, _ = weighted
    equal = np.full(len(real), weight)
    assert measured(real, synthetic, equal) == pytest.approx(measured(real, synthetic, None))


def test_equal_weights_change_no_interval(weighted):
    real, synthetic, _ = weighted

    def intervals(weights):
        options = dict(min_images=0, weights=weights)
        settings = [
            (fidelity.fid, {"blocks": 5}),
            (fidelity.kid, {"subsets": 8, "subset_size": 10}),
        ]
        found = [
            measure(real, synthetic, rng=np.random.default_rng(1), **extra, **options)
            for measure, extra in settings
        ]
        rng = np.random.default_rng(1)
        prdc = fidelity.prdc(real, synthetic, nearest_k=3, has_interval=True, rng=rng, **options)
        return [value for e in (*found, *prdc.values()) for value in (e.low, e.value, e.high)]

    assert intervals(np.full(40, 3.0)) == pytest.approx(intervals(None))


def test_only_ratios_of_weights_count_and_no_order(weighted, rng):
    real, synthetic, weights = weighted
    order = rng.permutation(len(real))
    expected = measured(real, synthetic, weights)
    assert measured(real, synthetic, weights / 100) == pytest.approx(expected)
    assert measured(real[order], synthetic[::-1], weights[order]) == pytest.approx(expected)


def test_a_weight_of_zero_is_an_image_that_is_not_there(weighted):
    real, synthetic, weights = weighted
    weights[:15] = 0
    there = measured(real[15:], synthetic, weights[15:])
    assert measured(real, synthetic, weights) == pytest.approx(there)


def test_whole_weights_are_repeated_images_in_means_and_pairs(weighted):
    real, synthetic, weights = weighted
    repeats = weights.astype(int)
    rows = np.repeat(np.arange(len(real)), repeats)
    # Covariance of images that are known to be repeated, and not drawn anew
    expected = frechet_distance(
        real[rows].mean(0),
        np.cov(real, rowvar=False, aweights=weights),
        synthetic.mean(0),
        np.cov(synthetic, rowvar=False),
    )
    assert fidelity.frechet(real, synthetic, weights) == pytest.approx(expected)

    def kernel(a, b):
        return (a @ b.T / 5 + 1) ** 3

    different = rows[:, None] != rows[None]
    within = kernel(real[rows], real[rows])[different].mean()
    unweighted = fidelity.mmd2(real, synthetic)
    all_pairs = kernel(real, real)[~np.eye(40, dtype=bool)].mean()
    across = kernel(real[rows], synthetic).mean() - kernel(real, synthetic).mean()
    assert fidelity.mmd2(real, synthetic, weights) == pytest.approx(
        unweighted + within - all_pairs - 2 * across
    )
    # A repeated image is one point, so the balls are those of the images that differ
    plain, found = measured(real, synthetic, None), measured(real, synthetic, weights)
    assert found["precision"] == plain["precision"]
    assert found["density"] == plain["density"]
    radius = np.sort(np.linalg.norm(real[:, None] - real[None], axis=-1), axis=1)[:, 3]
    nearest = np.linalg.norm(real[:, None] - synthetic[None], axis=-1).min(axis=1)
    assert found["coverage"] == pytest.approx((nearest < radius)[rows].mean())


def test_weights_undo_another_class_mix(rng):
    def images(counts):
        labels = np.repeat([0, 1], counts)
        return rng.normal(size=(len(labels), 4)) + 3 * labels[:, None], labels

    (real, labels), (synthetic, _) = images([900, 100]), images([200, 800])
    weights = np.array([0.2 / 900, 0.8 / 100])[labels]
    found, plain = measured(real, synthetic, weights), measured(real, synthetic, None)
    assert found["fid"] < 0.05 * plain["fid"]
    assert abs(found["mmd2"]) < 0.05 * plain["mmd2"]
    assert found["density"] == pytest.approx(1, abs=0.15)
    kid = fidelity.kid(
        real, synthetic, min_images=0, subsets=50, subset_size=100, rng=rng, weights=weights
    )
    assert kid.low < 0 < kid.high


def test_the_effective_size_is_stated_and_has_a_minimum(weighted, rng):
    real, synthetic, weights = weighted
    options = dict(subsets=4, subset_size=10, min_images=20)
    found = fidelity.kid(real, synthetic, rng=rng, weights=weights, **options)
    assert found.num_real == 40
    assert found.effective_real == pytest.approx(weights.sum() ** 2 / (weights**2).sum())
    weights[0] = 1e6
    found = fidelity.kid(real, synthetic, rng=rng, weights=weights, **options)
    assert found.value is None
    assert found.reason.startswith("the 40 real images count for 1.0 in the class proportions")
    weights[0] = np.nan
    with pytest.raises(ValueError, match="weights must be 40 finite numbers"):
        fidelity.kid(real, synthetic, rng=rng, weights=weights, **options)


def test_the_bias_of_fid_follows_the_effective_size(weighted, rng):
    real, synthetic, weights = weighted
    found = fidelity.fid(real, synthetic, min_images=31, blocks=0, rng=rng, weights=weights**2)
    assert found.value is None
    assert "31 are needed" in found.reason
    assert fidelity.fid(real, synthetic, min_images=31, blocks=0, rng=rng).value is not None
