"""Learning curves: their shapes, their fit, and how plausible each form is."""

import numpy as np
import pytest
from scipy.optimize import minimize

from fgds_core.worth.curves import FORMS, Form, fit, plausibility, power

X = np.array([[0.25, 0.2], [0.5, 0.4], [1.0, 1.0]])  # [J, U]
ERRORS = np.array([0.4, 0.1])  # [U]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_shape_is_1_now_falls_with_more_images_and_may_be_flat(form: Form) -> None:
    x = np.array([0.25, 0.5, 1.0, 2.0, 8.0])
    shapes = form.shape(x, form.parameters[:, None])  # [P, 5]
    np.testing.assert_allclose(shapes[:, 2], 1)
    assert (np.diff(shapes, axis=1) <= 0).all()
    assert (shapes >= 0).all()
    np.testing.assert_array_equal(shapes[0], 1)
    assert (np.diff(shapes[1:, 0]) > 0).all()  # the steeper, the worse with fewer images


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("place", [15, 40])
def test_a_fit_recovers_the_curve_that_made_the_errors(form: Form, place: int) -> None:
    true = form.parameters[place]
    made = ERRORS * form.shape(X, np.array(true))
    found = fit(form, made[None], X, np.ones(3))
    assert found.parameters == pytest.approx(true)
    np.testing.assert_allclose(found.errors[0], ERRORS)
    assert found.misfit == pytest.approx(0, abs=1e-9)
    x = np.array([3.0, 5.0])
    np.testing.assert_allclose(found.at(x)[0], ERRORS * form.shape(x, np.array(true)))


def test_a_fit_is_the_weighted_least_squares_that_an_optimiser_finds() -> None:
    rng = np.random.default_rng(0)
    errors = np.clip(ERRORS * X**-0.4 + rng.normal(0, 0.02, X.shape), 0, 1)
    weights = np.array([1.0, 2.0, 5.0])

    def misfit(values: np.ndarray) -> float:
        curve = values[:2] * (0.25 + 0.75 * X ** -np.exp(values[2]))
        return float((weights[:, None] * (errors - curve) ** 2).sum())

    best = minimize(misfit, [0.4, 0.1, -1.0], method="Nelder-Mead", options={"xatol": 1e-8})
    found = fit(power(0.25), errors[None], X, weights)
    assert found.misfit[0] == pytest.approx(best.fun, rel=0.02)
    np.testing.assert_allclose(found.errors[0], best.x[:2], rtol=0.02)
    assert found.parameters[0] == pytest.approx(np.exp(best.x[2]), rel=0.08)  # of a grid


def test_many_fits_at_once_are_the_fits_one_by_one() -> None:
    errors = np.random.default_rng(1).uniform(0, 1, (150, *X.shape))
    together = fit(FORMS[2], errors, X, np.ones(3))
    for place in (0, 63, 64, 149):
        alone = fit(FORMS[2], errors[[place]], X, np.ones(3))
        assert alone.parameters[0] == together.parameters[place]
        np.testing.assert_allclose(alone.errors[0], together.errors[place])


def test_the_form_that_made_the_errors_is_the_most_plausible() -> None:
    x = np.array([[0.1], [0.25], [0.5], [1.0]])
    for place, form in enumerate(FORMS):
        made = 0.2 * form.shape(x, form.parameters[30])
        misfits = [fit(each, made[None], x, np.full(4, 1e9)).misfit[0] for each in FORMS]
        weights = plausibility(np.array(misfits))
        assert weights.argmax() == place
        assert weights.sum() == pytest.approx(1)


def test_forms_that_fit_alike_are_equally_plausible() -> None:
    np.testing.assert_allclose(plausibility(np.array([3.0, 3.0])), 0.5)
    np.testing.assert_allclose(plausibility(np.array([0.0, 2.0]))[1], 1 / (1 + np.e))
