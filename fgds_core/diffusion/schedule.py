"""Which steps of the sampler are guided."""


def guided_steps(
    num_inference_steps: int, every: int, start: float, end: float, count: int | None = None
) -> tuple[int, ...]:
    """Chooses the steps that are guided: every `every`-th within [start, end) of the trajectory.

    Args:
        num_inference_steps: Number of steps of the sampler.
        every: 1 is each step of the interval, beginning with its first.
        start: Share of the steps that come before.
        end: Share of the steps at which it ends.
        count: How many, evenly spread over the interval from its first step on, in place of
            `every`; None goes by `every`.

    Returns:
        Indices of steps; none if the interval is narrower than a step.
    """
    steps = range(num_inference_steps)
    inside = [i for i in steps if start <= i / num_inference_steps < end]
    if count is None:
        return tuple(inside[::every])
    count = min(count, len(inside))
    return tuple(inside[i * len(inside) // count] for i in range(count))
