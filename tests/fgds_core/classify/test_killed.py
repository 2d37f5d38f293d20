"""kill -9 at any point of a training: the same command ends with the same weights, bit for bit."""

import io
import itertools
import os
import signal
from pathlib import Path

import pytest
import torch
from sets import gather, image_set
from training import TRAIN, VAL, recipe, same_weights, shaded

from fgds_core.classify import calibrate, learner
from fgds_core.classify.checkpoint import Checkpoint
from fgds_core.classify.run import TrainingRun
from fgds_core.classify.train import train_classifier

GROUPED = image_set(
    gather(TRAIN), TRAIN.labels, TRAIN.class_names, ["sea", "ice"] * (len(TRAIN) // 2)
)
KINDS = {
    "averaged": {"config": recipe(ema_decay=0.5, sampling="instance")},
    "accumulated": {"config": recipe(optimizer="sgd", accumulate_steps=4)},
    "scaled": {"config": recipe(precision="float16", ema_decay=0.5, num_steps=6)},
    "remembering": {
        "config": recipe(loss="group_dro", loss_kwargs={"eta": 1.0}),
        "train": GROUPED,
    },
    "in two stages": {
        "config": recipe(second_stage="crt", second_stage_steps=4, ema_decay=0.5),
        "synthetic": shaded([0, 5, 9], seed=3),
        "real_share": 0.5,
    },
    "mixed": {"config": recipe(mix="cmo", mix_probability=1.0, sampling="square_root")},
}


def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def at_call(number, target, name, instead=die):
    """Has the process die in place of the call of that number."""

    def apply():
        function, calls = getattr(target, name), itertools.count(1)
        setattr(
            target,
            name,
            lambda *of, **how: (instead if next(calls) == number else function)(*of, **how),
        )

    return apply


def half_written(state, file):
    whole = io.BytesIO()
    SAVE(state, whole)
    file.write(whole.getvalue()[: len(whole.getvalue()) // 2])
    file.flush()
    die()


def renamed(path, target):
    os.replace(path, target)
    die()


SAVE = torch.save
POINTS = {
    "in the first step": at_call(1, torch.Tensor, "backward"),
    "while the first state is written": at_call(1, torch, "save", half_written),
    "before the state takes its name": at_call(1, Path, "replace"),
    "when it has just taken its name": at_call(1, Path, "replace", renamed),
    "in a later step": at_call(2, torch.Tensor, "backward"),
    "while it validates": at_call(1, learner, "predict_logits"),
    "while a later state is written": at_call(1, torch, "save", half_written),
    "after a whole step": at_call(2, Checkpoint, "write"),
    "while it validates at the end": at_call(1, learner, "predict_logits"),
}
"""In the order of a training, so that each run goes on where the one before it was killed."""

IN_THE_SECOND_STAGE = {
    "in the second stage": at_call(4, torch.Tensor, "backward"),
    "while the second stage validates": at_call(1, learner, "predict_logits"),
}
AT_THE_END = {"after the last step": at_call(1, calibrate, "predict_logits")}


def checkpoint(path):
    ticks = itertools.count()
    return Checkpoint(path, "a", 1, lambda: float(next(ticks)))


def killed(point, path, how):
    """Trains in a process of its own until it is killed, as it has to be."""
    child = os.fork()
    if not child:
        try:
            torch.set_num_threads(1)  # the parent's threads are not here
            point()
            run = TrainingRun(checkpoint=checkpoint(path))
            train_classifier(**how, val=VAL, seed=1, run=run)
        finally:
            os._exit(1)
    return os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_any_point_it_ends_with_the_same_weights(tmp_path, kind):
    how = {"train": TRAIN} | KINDS[kind]
    epochs, again, steps = [], [], []
    whole = train_classifier(**how, val=VAL, seed=1, run=TrainingRun(on_epoch=epochs.append))
    path = tmp_path / "state"
    second = IN_THE_SECOND_STAGE if how["config"].second_stage != "none" else {}
    for name, point in (POINTS | second | AT_THE_END).items():
        assert killed(point, path, how), name
    run = TrainingRun(on_epoch=again.append, advance=steps.append, checkpoint=checkpoint(path))
    resumed = train_classifier(**how, val=VAL, seed=1, run=run)
    assert steps[0] > 1  # it went on
    assert sum(steps) == how["config"].total_steps
    assert same_weights(whole, resumed)
    assert whole.temperature == resumed.temperature
    assert again == epochs
