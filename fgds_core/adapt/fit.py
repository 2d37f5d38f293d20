"""The loop in which weights learn until held-out images say that they learn no more."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fgds_core.adapt.record import Fitted, Look
from fgds_core.classify.checkpoint import Checkpoint
from fgds_core.errors import InputError

WARM_UP = 50
"""Steps in which the learning rate rises."""

EMA_DECAY = 0.99
"""Of the moving average of the weights, per step, at most; it is what is looked at and kept."""

MAX_NORM = 1.0
"""Of a step's gradient."""


@dataclass(frozen=True)
class Schedule:
    """How long it is learnt, and how fast.

    Attributes:
        num_steps: At most.
        learning_rate: Peak.
        eval_every: Steps between looks.
        patience: Looks in a row that may bring nothing.
    """

    num_steps: int
    learning_rate: float
    eval_every: int
    patience: int


def fit(
    parameters: Sequence[nn.Parameter],
    loss: Callable[[int], Tensor],
    held_out: Callable[[], float] | None,
    schedule: Schedule,
    *,
    checkpoint: Checkpoint | None = None,
    advance: Callable[[int], None] = lambda steps: None,
) -> Fitted:
    """Learns, and leaves the best weights in place.

    Args:
        parameters: What learns.
        loss: Step -> its loss; a step's chance follows from its number alone.
        held_out: The loss on held-out images with the weights as they are; None where there are
            none: the weights of the last step are kept then.
        schedule: How long and how fast.
        checkpoint: Where a training that is stopped goes on from, to the same weights.
        advance: Called with the steps done, those that are left out at the end too.

    Raises:
        InputError: The loss is no number.
    """
    learner = _Learner(parameters, schedule, held_out)
    state = None if checkpoint is None else checkpoint.read()
    if state is not None:
        learner.restore(state)
        advance(learner.step)
    else:
        learner.look()
    while not learner.is_over:
        learner.learn(loss(learner.step))
        advance(1)
        if learner.step % schedule.eval_every == 0 or learner.step == schedule.num_steps:
            learner.look()
        if checkpoint is not None:
            checkpoint.write(learner.state)
    advance(schedule.num_steps - learner.step)
    _put(parameters, learner.best)
    return Fitted(best_of(learner.looks), tuple(learner.looks))


class _Learner:
    """Weights that learn, their moving average, and the best of it so far."""

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        schedule: Schedule,
        held_out: Callable[[], float] | None,
    ) -> None:
        from diffusers.optimization import get_constant_schedule_with_warmup
        from diffusers.training_utils import EMAModel

        self.step = 0
        self.looks: list[Look] = []
        self.best = [p.detach().clone() for p in parameters]
        self._losses = 0.0  # their sum since the last look
        self._parameters = parameters
        self._schedule = schedule
        self._held_out = held_out
        self._optimizer = torch.optim.AdamW(
            parameters, lr=schedule.learning_rate, betas=(0.9, 0.99), weight_decay=0.0
        )
        self._rate = get_constant_schedule_with_warmup(self._optimizer, WARM_UP)
        self._average = EMAModel(parameters, decay=EMA_DECAY, foreach=True)

    @property
    def is_over(self) -> bool:
        """Whether all steps are done, or so many looks in a row have brought nothing."""
        best = best_of(self.looks)
        in_vain = sum(each.step > best for each in self.looks)
        return self.step >= self._schedule.num_steps or in_vain >= self._schedule.patience

    def learn(self, loss: Tensor) -> None:
        """Takes a step down a loss."""
        value = float(loss.detach())
        if not math.isfinite(value):
            raise InputError(
                f"adapt: the loss is {value} at step {self.step + 1}; lower adapt.learning_rate"
            )
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._parameters, MAX_NORM)
        self._optimizer.step()
        self._rate.step()
        self._average.step(self._parameters)
        self.step += 1
        self._losses += value

    def look(self) -> None:
        """Looks at the held-out images with the average, which is kept if it is the best."""
        found = None
        if self._held_out is not None:
            self._average.store(self._parameters)
            self._average.copy_to(self._parameters)
            with torch.no_grad():
                found = self._held_out()
            self._average.restore(self._parameters)
        done = self.step - self.looks[-1].step if self.looks else 0
        self.looks.append(Look(self.step, self._losses / done if done else None, found))
        self._losses = 0.0
        if best_of(self.looks) == self.step:
            _put(self.best, self._average.shadow_params)

    def state(self) -> dict[str, Any]:
        """Where it stands, for a checkpoint."""
        return {
            "step": self.step,
            "looks": [asdict(each) for each in self.looks],
            "losses": self._losses,
            "parameters": [p.detach() for p in self._parameters],
            "best": self.best,
            **{name: part.state_dict() for name, part in self._parts.items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from where it stood."""
        self.step, self._losses = state["step"], state["losses"]
        self.looks = [Look(**each) for each in state["looks"]]
        _put(self._parameters, state["parameters"])
        _put(self.best, state["best"])
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        self._average.to(self._parameters[0].device)  # a checkpoint is read into main memory

    @property
    def _parts(self) -> dict[str, Any]:
        """What has a state of its own."""
        return {"optimizer": self._optimizer, "rate": self._rate, "average": self._average}


def best_of(looks: Sequence[Look]) -> int:
    """The step with the lowest loss of held-out images, the first; the last without any."""
    told = [each for each in looks if each.held_out is not None]
    if not told:
        return looks[-1].step
    return min(told, key=lambda each: each.held_out).step  # type: ignore[arg-type, return-value]


def _put(places: Sequence[Tensor], values: Sequence[Any]) -> None:
    with torch.no_grad():
        for place, value in zip(places, values, strict=True):
            place.copy_(value)
