"""How much the classifiers of a committee differ."""

import math

from torch import Tensor

from fgds_core.feedback.criterion import Known, Seen


def disagreement(seen: Seen, labels: Tensor, known: Known) -> Tensor:
    """What knowing the member would tell of its answer, in nats: BALD, at most log M.

    The entropy of the mean prediction less the mean of the members' entropies, as the mean of
    their divergences from it. It is high where each is sure and they contradict each other, and 0
    where all of them hesitate alike.

    Args:
        seen: The committee's answer.
        labels: Unused.
        known: Unused.

    Returns:
        One value per image, [B].

    Source: Houlsby et al. (2011), https://arxiv.org/abs/1112.5745, equation 2; for images Gal et
    al. (2017), https://arxiv.org/abs/1703.02910
    """
    log_p = seen.members  # [M, B, K]
    assert log_p is not None  # `agreement` asks for a committee
    log_mean = log_p.logsumexp(dim=0) - math.log(len(log_p))  # [B, K]
    return (log_p.exp() * (log_p - log_mean)).sum(dim=-1).mean(dim=0)
