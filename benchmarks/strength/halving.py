"""Successive halving: many candidates on a small budget, the best of them on more.

Source: Jamieson and Talwalkar (2016), https://arxiv.org/abs/1502.07943
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

Candidate = TypeVar("Candidate")


@dataclass(frozen=True)
class Rung:
    """One round of comparing.

    Attributes:
        budget: What each candidate is given, in any unit, such as images a class.
        keep: How many candidates come to the next rung; of the last one, how many win.
    """

    budget: int
    keep: int


def successive_halving(
    candidates: Sequence[Candidate],
    rungs: Sequence[Rung],
    value: Callable[[Candidate, int], float],
) -> list[list[tuple[Candidate, float]]]:
    """Compares the candidates rung by rung and keeps the best.

    Args:
        candidates: All that are tried, each once.
        rungs: From the cheapest to the dearest.
        value: Of a candidate at a budget; larger is better. It is asked once for each candidate
            of each rung.

    Returns:
        For each rung its candidates with their values, the best first; of equal ones that which
        was named first. The winners are the first `keep` of the last rung.

    Raises:
        ValueError: Candidates repeat, budgets do not grow, or a rung keeps none or more than it
            has.
    """
    if len(set(candidates)) != len(candidates):
        raise ValueError("a candidate is named twice")
    budgets, keeps = [rung.budget for rung in rungs], [rung.keep for rung in rungs]
    if budgets != sorted(set(budgets)):
        raise ValueError(f"budgets must grow from rung to rung, got {budgets}")
    if keeps != sorted(keeps, reverse=True) or not 1 <= keeps[-1] <= keeps[0] <= len(candidates):
        raise ValueError(f"got {len(candidates)} candidates, and rungs that keep {keeps}")
    left, found = list(candidates), []
    for rung in rungs:
        valued = [(candidate, value(candidate, rung.budget)) for candidate in left]
        found.append(sorted(valued, key=lambda each: each[1], reverse=True))  # stable
        left = [candidate for candidate, _ in found[-1][: rung.keep]]
    return found
