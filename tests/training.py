"""A training of five steps on noisy images whose class is their brightness."""

import torch
from sets import image_set

from fgds_core.classify.config import RetrainConfig, TrainConfig

RECIPE = {
    "model": "test_resnet",
    "model_kwargs": {"drop_rate": 0.1},
    "pretrained": "none",
    "input_size": 16,
    "num_steps": 5,
    "batch_size": 8,
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "warmup_steps": 1,
    "weight_decay": 0.05,
    "loss": "cross_entropy",
    "loss_kwargs": {},
    "label_smoothing": 0.1,
    "ema_decay": 0.0,
    "horizontal_flip": True,
    "shift": 2,
    "erase": 0.3,
    "crop_scale": None,
    "rand_augment": None,
    "color_jitter": 0.0,
    "mix": "none",
    "mix_alpha": 1.0,
    "mix_probability": 1.0,
    "eval_every": 2,
    "precision": "float32",
    "accumulate_steps": 1,
    "sampling": "class_balanced",
    "head": "linear",
    "tune": "all",
    "lora_rank": 2,
    "second_stage": "none",
    "second_stage_steps": 4,
    "posthoc": "none",
}


def recipe(**changes):
    return TrainConfig.model_validate({**RECIPE, **changes})


RETRAINING = {
    "training": {"sampling": "class_balanced"},
    "real_share": 0.5,
    "synthetic_weight": 1.0,
    "synthetic_label_smoothing": None,
    "split_batch_norm": False,
    "mix_within_source": False,
}


def retraining(**changes):
    return RetrainConfig.model_validate({**RETRAINING, **changes})


def shaded(counts, seed=0, names=("dark", "grey", "light")):
    """Noisy images whose class is their brightness."""
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    rng = torch.Generator().manual_seed(seed)
    noise = 0.1 * torch.randn(len(labels), 3, 16, 16, generator=rng)
    level = labels[:, None, None, None] * 0.8 - 0.8
    return image_set((level + noise).clamp(-1, 1), labels, names)


TRAIN, VAL = shaded([24, 6, 2]), shaded([5, 5, 5], seed=1)


def same_weights(first, second):
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)
