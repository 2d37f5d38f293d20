"""How well the images of a part cover a few real ones of their class, and stay near to them."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from fgds_core.feedback.criterion import Known, Seen, Together
from fgds_core.feedback.exemplars import EXEMPLARS

NEEDS = EXEMPLARS


def exemplar(seen: Seen, labels: Tensor, known: Known) -> Tensor:
    """Each image's share of the Chamfer distance between its part and the exemplars, negative.

    With P images x and E exemplars e of a class, as features of length 1, the distance is the mean
    over images of the squared distance to the nearest exemplar (fidelity), plus the mean over
    exemplars of that to the nearest image (coverage). An image has the first of these to itself,
    and of the second what concerns exemplars that it is the nearest image of, times P / E: so the
    mean over the images is the distance, and their gradients are its gradient times P.

    Args:
        seen: The classifier's answer, and how it sees the rest of the part.
        labels: Intended classes, [B].
        known: Has the exemplars.

    Returns:
        One value per image, [B], at most 0; 0 without a gradient where a class has no real image.

    Source: Dall'Asen et al. (2025), https://arxiv.org/abs/2508.10631
    """
    assert known.exemplars is not None  # `NEEDS` has found them
    everyone = seen.together
    if everyone is None:
        places = torch.arange(len(labels), device=labels.device)
        everyone = Together(seen.features.detach(), labels, places)
    x = F.normalize(seen.features, dim=-1)  # [B, D]
    values = 0 * x.sum(dim=-1)  # [B]
    for label in sorted(set(labels.tolist())):
        e = known.exemplars(label).to(x)  # [E, D]
        if not len(e):
            continue
        own = labels == label  # [B]
        distances = _distances(x[own], e) ** 2  # [b, E]

        # Which image each exemplar is nearest to, among all of the class: fixed, as any argmin is
        among = torch.nonzero(everyone.labels == label)[:, 0]  # [P]
        apart = _distances(F.normalize(everyone.features[among].to(e), dim=-1), e)  # [P, E]
        nearest = among[apart.nan_to_num(math.inf).argmin(dim=0)]  # [E], one that is finite
        is_nearest = nearest == everyone.places[own][:, None]  # [b, E]

        coverage = (distances * is_nearest).sum(dim=1) * len(among) / len(e)
        values[own] = -(distances.amin(dim=1) + coverage)
    return values


def _distances(x: Tensor, e: Tensor) -> Tensor:
    """Between all rows of two matrices; not by their products, which cancel where all are near."""
    return torch.cdist(x, e, compute_mode="donot_use_mm_for_euclid_dist")
