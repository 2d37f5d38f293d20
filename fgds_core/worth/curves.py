"""Learning curves: how the error of a class falls as it gets more images.

Every form is a class's present error times a shape of x, how many times the present images it has:
`err(x) = e g(x)`, `g(1) = 1`. The classes of a bin have one shape and errors of their own.

Source: Cortes et al. (1993), Learning Curves: Asymptotic Values and Rate of Convergence (power
    laws with an asymptote); Viering and Loog (2021), The Shape of Learning Curves: a Review,
    https://arxiv.org/abs/2103.10948 (which forms extrapolate)
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NUM_ASYMPTOTES = 10
ASYMPTOTES = tuple(1 - (1 - (i + 0.5) / NUM_ASYMPTOTES) ** (1 / 3) for i in range(NUM_ASYMPTOTES))
"""Shares of the present error that no number of images removes, equally likely: quantiles of
Beta(1, 3), a quarter in the mean. A class that is rare errs mostly because it is rare."""

EXPONENTS = np.concatenate([[0.0], np.geomspace(0.01, 4.0, 80)])
SLOPES = np.concatenate([[0.0], np.geomspace(0.005, 1.5, 80)])


@dataclass(frozen=True)
class Form:
    """A family of shapes with one parameter, on a grid; 0 of it is a flat curve.

    Attributes:
        name: For people.
        parameters: [P], increasing.
        shape: Relative error by x and parameter, broadcast; falls with both.
    """

    name: str
    parameters: Floats
    shape: Callable[[Floats, Floats], Floats]


def power(asymptote: float) -> Form:
    """A power law: `asymptote + (1 - asymptote) x^-parameter`."""

    def shape(x: Floats, exponent: Floats) -> Floats:
        return np.asarray(asymptote + (1 - asymptote) * x**-exponent)

    return Form(f"power law, asymptote {asymptote:g}", EXPONENTS, shape)


def _logarithmic(x: Floats, slope: Floats) -> Floats:
    return np.maximum(1 - slope * np.log(x), 0)


FORMS = (*map(power, ASYMPTOTES), Form("logarithmic", SLOPES, _logarithmic))
"""All are equally likely before anything is measured."""


@dataclass(frozen=True)
class Fits:
    """The best curve of one form for each of B sets of measured errors.

    Attributes:
        form: The form.
        parameters: Its parameter, one for all units, [B].
        errors: Error of each unit at its present images, [B, U].
        misfit: Weighted sum of the squares that are left, [B].
    """

    form: Form
    parameters: Floats
    errors: Floats
    misfit: Floats

    def at(self, x: Floats) -> Floats:
        """Error of each unit at x times its present images, [U] or [B, U], as [B, U]."""
        return np.asarray(self.errors * self.form.shape(x, self.parameters[:, None]))


def fit(form: Form, errors: Floats, x: Floats, weights: Floats) -> Fits:
    """Fits one form by weighted least squares: exact in the errors, on the grid in the parameter.

    Args:
        form: The form.
        errors: Measured errors of J numbers of images, fractions, [B, J, U].
        x: How many times its present images each unit had, [J, U].
        weights: 1 / variance of a measured error, [J].
    """
    g = form.shape(x, form.parameters[:, None, None])  # [P, J, U]
    weighted = weights[:, None] * g  # [P, J, U]
    energy = (weighted * g).sum(1)  # [P, U]
    energy = np.maximum(energy, np.finfo(np.float64).tiny)
    chosen, best, misfit = [], [], []
    for start in range(0, len(errors), _BLOCK):
        block = errors[start : start + _BLOCK]  # [b, J, U]
        product = np.einsum("bju,pju->bpu", block, weighted, optimize=True)
        scale = np.clip(product / energy, 0, 1)  # [b, P, U], the error of each unit
        squares = np.einsum("bju,j->b", block**2, weights)  # [b]
        left = squares[:, None] + (scale * (scale * energy - 2 * product)).sum(-1)  # [b, P]
        place = left.argmin(1)  # [b]
        rows = np.arange(len(block))
        chosen.append(form.parameters[place])
        best.append(scale[rows, place])
        misfit.append(left[rows, place])
    return Fits(form, np.concatenate(chosen), np.concatenate(best), np.concatenate(misfit))


_BLOCK = 64
"""Sets of errors that are fitted at once, for memory."""


def plausibility(misfits: Floats) -> Floats:
    """Weight of each form, which add up to 1: its likelihood among forms of as many parameters.

    Args:
        misfits: Of the best curve of each form for what was measured, squares over variances, [F].

    Source: Buckland et al. (1997), Model Selection: An Integral Part of Inference (weights by
        exp(-AIC / 2), with which an interval covers what no form is sure of)
    """
    likelihood = np.exp(-(misfits - misfits.min()) / 2)
    return np.asarray(likelihood / likelihood.sum())
