"""A training that was stopped goes on to the same weights, bit for bit."""

import itertools
import os
import signal
from pathlib import Path

import pytest
import torch
from sets import gather, image_set
from training import TRAIN, VAL, recipe, same_weights, shaded

from fgds_core.classify.checkpoint import Checkpoint
from fgds_core.classify.config import Treatment
from fgds_core.classify.run import TrainingRun
from fgds_core.classify.train import train_classifier
from fgds_core.errors import InputError

SYNTHETIC = shaded([0, 10, 20], seed=3)
GROUPED = image_set(gather(TRAIN), TRAIN.labels, TRAIN.class_names, ["sea", "ice"] * 16)


class Stop(BaseException):
    """Stands for Ctrl-C."""


def every_step(path: Path, key: str = "a") -> Checkpoint:
    ticks = itertools.count()
    return Checkpoint(path, key, 1, lambda: float(next(ticks)))


def stop_at(last):
    steps = []

    def advance(number):
        steps.append(number)
        if sum(steps) >= last:
            raise Stop

    return advance


KINDS = {
    "instance": {"config": recipe(ema_decay=0.5, sampling="instance")},
    "square root": {"config": recipe(optimizer="sgd", sampling="square_root")},
    "synthetic": {"config": recipe(), "synthetic": SYNTHETIC, "real_share": 0.5},
    "transforms": {
        "config": recipe(crop_scale=0.3, rand_augment="rand-m9-mstd0.5", color_jitter=0.4)
    },
    "mixup": {"config": recipe(mix="mixup", mix_alpha=0.4)},
    "treatment": {
        "config": recipe(mix="cmo", mix_probability=0.5, ema_decay=0.5),
        "synthetic": SYNTHETIC,
        "real_share": 0.5,
        "treatment": Treatment(0.5, 0.3, split_batch_norm=True, mix_within_source=True),
    },
    "treatment, then a new head": {
        "config": recipe(num_steps=2, second_stage="crt", second_stage_steps=3, mix="cutmix"),
        "synthetic": SYNTHETIC,
        "real_share": 0.5,
        "treatment": Treatment(split_batch_norm=True, mix_within_source=True),
    },
    "synthetic, then real": {
        "config": recipe(num_steps=2, second_stage="real", second_stage_steps=3),
        "synthetic": SYNTHETIC,
        "real_share": 0.0,
    },
    "progressive": {
        "config": recipe(sampling="progressive"),
        "synthetic": SYNTHETIC,
        "real_share": 0.5,
    },
    "group DRO": {
        "train": GROUPED,
        "config": recipe(
            loss="group_dro", loss_kwargs={"eta": 1.0}, sampling="group_balanced", ema_decay=0.5
        ),
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_stopped_anywhere_it_ends_with_the_same_weights(tmp_path, kind):
    how = {"train": TRAIN, "val": VAL} | KINDS[kind]
    epochs = []
    whole = train_classifier(seed=1, run=TrainingRun(on_epoch=epochs.append), **how)
    path = tmp_path / "state"
    for last in (1, 3, 4):
        with pytest.raises(Stop):
            train_classifier(
                seed=1,
                run=TrainingRun(advance=stop_at(last), checkpoint=every_step(path)),
                **how,
            )
        torch.rand(3)
    again, steps = [], []
    resumed = train_classifier(
        seed=1,
        run=TrainingRun(on_epoch=again.append, advance=steps.append, checkpoint=every_step(path)),
        **how,
    )
    assert steps[0] == 4
    assert sum(steps) == 5
    assert same_weights(whole, resumed)
    assert whole.temperature == resumed.temperature
    assert again == epochs


def test_what_failed_after_the_last_step_is_not_trained_again(tmp_path):
    how = KINDS["instance"]
    path = tmp_path / "state"
    whole = train_classifier(
        TRAIN, VAL, seed=1, run=TrainingRun(checkpoint=every_step(path)), **how
    )
    steps = []
    again = train_classifier(
        TRAIN,
        VAL,
        seed=1,
        run=TrainingRun(advance=steps.append, checkpoint=every_step(path)),
        **how,
    )
    assert steps == [5]
    assert same_weights(whole, again)


@pytest.mark.parametrize("damage", ["another key", "cut off", "no state", "a pickle"])
def test_a_state_that_is_not_this_trainings_is_left_alone(tmp_path, damage):
    path = tmp_path / "state"
    every_step(path, "b" if damage == "another key" else "a").write(lambda: {"step": 3})
    match damage:
        case "cut off":
            path.write_bytes(path.read_bytes()[:100])
        case "no state":
            torch.save([1], path)
        case "a pickle":
            path.write_bytes(b"\x80\x04cposix\nsystem\n.")
    assert every_step(path).read() is None


def test_it_writes_no_more_often_than_it_was_told(tmp_path):
    now = [0.0]
    checkpoint = Checkpoint(tmp_path / "state", "a", 20, lambda: now[0])
    written = []
    for second in range(100):
        now[0] = second
        checkpoint.write(lambda: written.append(now[0]) or {})
    assert written == [20, 40, 60, 80]
    checkpoint.remove()
    checkpoint.remove()
    assert checkpoint.read() is None


def test_a_kill_loses_what_came_after_the_last_state_and_no_more(tmp_path):
    how = KINDS["instance"]

    def kill_at_step_3(number):
        steps.append(number)
        if sum(steps) == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    steps = []
    child = os.fork()
    if not child:
        torch.set_num_threads(1)  # the parent's threads are not here
        checkpoint = every_step(tmp_path / "state")
        run = TrainingRun(advance=kill_at_step_3, checkpoint=checkpoint)
        train_classifier(TRAIN, VAL, seed=1, run=run, **how)
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    run = TrainingRun(advance=steps.append, checkpoint=every_step(tmp_path / "state"))
    train_classifier(TRAIN, VAL, seed=1, run=run, **how)
    assert steps == [3, 1, 1]


@pytest.mark.parametrize("size", [1, 1_000_000])
def test_a_full_disk_is_one_message_and_leaves_the_earlier_state(
    tmp_path: Path, size: int
) -> None:
    checkpoint = every_step(tmp_path / "file")
    checkpoint.write(lambda: {"step": 1})
    (tmp_path / "file.part").symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"cannot write .* make room"):
        checkpoint.write(lambda: {"step": torch.zeros(size)})
    assert not (tmp_path / "file.part").is_symlink()
    assert checkpoint.read() == {"step": 1}
