"""What is compared: each arm by its name, with the images and the training it has.

An arm differs from the parameters of its data set in what it names. Those of `TRIES` are compared
on validation images alone; what is chosen among them, and all controls, stand in `FINAL`, which
are compared on test images.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from benchmarks.controls.others import Other
from benchmarks.controls.place import Overrides, Place
from benchmarks.controls.sets import Best, Drawn, Made, MoreReal

CONTROL = "real: strongest"
"""The matched control: the strongest training on real images alone."""

CEILING = "more real images"
UNGUIDED = "unguided: dual + dropout"
LOSS = "feedback: loss"


class Spec(Protocol):
    """How a set of images is made."""

    def made_by(self, place: Place) -> str:
        """What decides the images of every seed, as far as it is known before they are made."""
        ...

    def make(self, place: Place, seed: int) -> Made:
        """Makes it, or takes what is there."""
        ...


@dataclass(frozen=True)
class Arm:
    """One line of the table.

    Attributes:
        images: What it learns from beside the real images; None is nothing.
        training: Keys of `retrain.training` in which it differs.
        retrain: Keys of `retrain` in which it differs: what is done with the other images.
        smote: Whether its last layer is refitted with mixtures of real features.
        final: Whether it is compared on test images.
    """

    images: Spec | None = None
    training: Overrides = field(default_factory=dict)
    retrain: Overrides = field(default_factory=dict)
    smote: bool = False
    final: bool = True


AS_BEFORE: Overrides = {"rounds": 1, "conditioning": "dual", "embedding_dropout": 0.9}
"""How images are drawn where an arm says nothing else, whatever has become of the parameters."""


def unguided(**synthesize: object) -> Drawn:
    """A set without feedback."""
    return Drawn({"synthesize.feedback": "none", **_keys(synthesize)})


def guided(feedback: str, scale: float = 0.01, **synthesize: object) -> Drawn:
    """A set with feedback."""
    keys = {"feedback": feedback, "feedback_scale": scale, **synthesize}
    return Drawn(_keys(keys))


def _keys(synthesize: Mapping[str, object]) -> dict[str, object]:
    return {f"synthesize.{key}": value for key, value in {**AS_BEFORE, **synthesize}.items()}


PLAIN: Overrides = {"loss": "cross_entropy", "loss_kwargs": {}, "rand_augment": None}
INSTANCE: Overrides = {**PLAIN, "sampling": "instance"}
BALANCED: Overrides = {**PLAIN, "sampling": "class_balanced"}
GROUP_BALANCED: Overrides = {**PLAIN, "sampling": "group_balanced"}
RAND_AUGMENT = "rand-m5-mstd0.5-inc1"

TWICE = Drawn(unguided().changes, times=2)
TEXT: Overrides = {"conditioning": "text", "embedding_dropout": 0.0}
TWICE_TEXT = Drawn(unguided(**TEXT).changes, times=2)

SYNTHETIC: Mapping[str, Arm] = {
    # Other generators, trained on the same real images
    "other generator: VAE": Arm(Other("vae")),
    "other generator: GAN": Arm(Other("gan")),
    # Without feedback: what the generator is told
    "unguided: text": Arm(unguided(**TEXT)),
    "unguided: dual": Arm(unguided(embedding_dropout=0.0)),
    UNGUIDED: Arm(unguided()),
    "unguided: slerp": Arm(unguided(embedding_mix="slerp", embedding_dropout=0.0), final=False),
    "unguided: transfer": Arm(
        unguided(embedding_mix="transfer", embedding_mix_share=1.0, embedding_dropout=0.0)
    ),
    "unguided: transfer + dropout .5": Arm(
        unguided(embedding_mix="transfer", embedding_mix_share=1.0, embedding_dropout=0.5)
    ),
    "unguided: half of any class": Arm(
        unguided(embedding_mix="any_class", embedding_dropout=0.0), final=False
    ),
    "unguided: noise 500": Arm(unguided(noise_level=500, embedding_dropout=0.0), final=False),
    # Feedback: criteria
    LOSS: Arm(guided("loss")),
    "feedback: entropy": Arm(guided("entropy")),
    "feedback: hardness": Arm(guided("hardness")),
    "feedback: exemplar": Arm(guided("exemplar")),
    "feedback: exemplar, text": Arm(guided("exemplar", **TEXT)),
    "feedback: exemplar + loss": Arm(guided("exemplar_loss")),
    "feedback: exemplar + entropy": Arm(guided("exemplar_entropy"), final=False),
    "feedback: influence": Arm(guided("influence")),
    "feedback: loss, text": Arm(guided("loss", **TEXT)),
    "feedback: entropy, text": Arm(guided("entropy", **TEXT)),
    # Feedback: which classifier guides
    "feedback: loss, prior taken out": Arm(guided("loss", feedback_tau=1.0)),
    "feedback: loss, control guides": Arm(guided("loss", guide="control")),
    "feedback: loss, both guide": Arm(guided("loss", guide="both"), final=False),
    "feedback: loss, 3 baselines guide": Arm(
        Drawn(guided("loss").changes, guide_seeds=3), final=False
    ),
    "feedback: disagreement of both": Arm(guided("disagreement", guide="both"), final=False),
    # Feedback in rounds
    "feedback: loss, 2 rounds": Arm(guided("loss", rounds=2)),
    "feedback: loss, text, 2 rounds": Arm(guided("loss", rounds=2, **TEXT), final=False),
    "unguided: dual + dropout, 2 rounds": Arm(unguided(rounds=2)),
    "unguided: text, 2 rounds": Arm(unguided(rounds=2, **TEXT), final=False),
    "feedback: loss, 4 rounds": Arm(guided("loss", rounds=4), final=False),
    "feedback: loss, 2 even rounds": Arm(
        guided("loss", rounds=2, round_quotas="even"), final=False
    ),
    # As much computing without feedback
    "equal compute: twice as many": Arm(TWICE),
    "equal compute: best of 2 by loss": Arm(Best(TWICE, "loss")),
    "equal compute: best of 2 by entropy": Arm(Best(TWICE, "entropy"), final=False),
    "equal compute: twice as many, text": Arm(TWICE_TEXT),
    "equal compute: best of 2 by loss, text": Arm(Best(TWICE_TEXT, "loss")),
    "equal compute: best of 2 by entropy, text": Arm(Best(TWICE_TEXT, "entropy"), final=False),
    "equal compute: least loss of 2, text": Arm(Best(TWICE_TEXT, "loss", least=True), final=False),
    "equal compute: judged of 2, text": Arm(Best(TWICE_TEXT, "none"), final=False),
    "equal compute: best of 2 by loss, text, unjudged": Arm(
        Best(TWICE_TEXT, "loss", judged=False), final=False
    ),
    # The same, by a judge that knows the real images of the data alone
    "equal compute: best of 2 by loss, own judge": Arm(Best(TWICE, "loss", own_judge=True)),
    "equal compute: best of 2 by loss, text, own judge": Arm(
        Best(TWICE_TEXT, "loss", own_judge=True)
    ),
    "equal compute: judged of 2, text, own judge": Arm(
        Best(TWICE_TEXT, "none", own_judge=True), final=False
    ),
    # What is done with the images
    "feedback: loss, last layer on real": Arm(
        guided("loss"), training={"second_stage": "last_layer_real"}
    ),
    "feedback: loss, 2 rounds, last layer on real": Arm(
        guided("loss", rounds=2), training={"second_stage": "last_layer_real"}
    ),
    "unguided: dual + dropout, 2 rounds, last layer on real": Arm(
        unguided(rounds=2), training={"second_stage": "last_layer_real"}
    ),
    "equal compute: twice as many, last layer on real": Arm(
        TWICE, training={"second_stage": "last_layer_real"}
    ),
    "feedback: loss, then real": Arm(guided("loss"), training={"second_stage": "real"}),
    "unguided: text, last layer on real": Arm(
        unguided(**TEXT), training={"second_stage": "last_layer_real"}
    ),
    "feedback: loss, RandAugment": Arm(guided("loss"), training={"rand_augment": RAND_AUGMENT}),
}

LONG_TAILED: Mapping[str, Arm] = {
    "real: instance": Arm(training=INSTANCE),
    "real: class-balanced": Arm(training=BALANCED),
    CONTROL: Arm(),
    "real: strongest + CMO": Arm(training={"mix": "cmo"}),
    "real: class-balanced + CMO": Arm(training={**BALANCED, "mix": "cmo"}),
    "real: strongest + RandAugment": Arm(training={"rand_augment": RAND_AUGMENT}),
    "real: strongest + RandAugment + mixup": Arm(
        training={"rand_augment": RAND_AUGMENT, "mix": "mixup"}, final=False
    ),
    "real: strongest + cRT": Arm(training={"second_stage": "crt"}),
    "real: strongest + SMOTE of features": Arm(smote=True),
    CEILING: Arm(MoreReal()),
    **SYNTHETIC,
    "the same share in every class": Arm(
        guided("loss", target_per_class=1, min_per_class=116), final=False
    ),
    **{
        f"{name}, n={number}": Arm(drawn(number), final=False)
        for number in (100, 400, 800)
        for name, drawn in (
            (UNGUIDED, lambda number: unguided(target_per_class=number)),
            (LOSS, lambda number: guided("loss", target_per_class=number)),
        )
    },
}

_RAND_AUGMENTED: Overrides = {**GROUP_BALANCED, "rand_augment": RAND_AUGMENT}

GROUPED: Mapping[str, Arm] = {
    "real: instance": Arm(training=INSTANCE),
    "real: class-balanced": Arm(training=BALANCED),
    "real: group-balanced": Arm(training=GROUP_BALANCED),
    "real: square root": Arm(training={**PLAIN, "sampling": "square_root"}, final=False),
    "real: group DRO": Arm(training={**INSTANCE, "loss": "group_dro"}, final=False),
    "real: group DRO, group-balanced": Arm(
        training={**GROUP_BALANCED, "loss": "group_dro"}, final=False
    ),
    "real: group-balanced + LISA": Arm(training={**GROUP_BALANCED, "mix": "lisa"}, final=False),
    "real: class-balanced + LISA": Arm(training={**BALANCED, "mix": "lisa"}, final=False),
    "real: group-balanced + mixup": Arm(training={**GROUP_BALANCED, "mix": "mixup"}, final=False),
    "real: group-balanced + CutMix": Arm(
        training={**GROUP_BALANCED, "mix": "cutmix"}, final=False
    ),
    "real: group-balanced + colour jitter": Arm(
        training={**GROUP_BALANCED, "color_jitter": 0.4}, final=False
    ),
    "real: group-balanced + RandAugment": Arm(training=_RAND_AUGMENTED, final=False),
    "real: group-balanced + RandAugment 7": Arm(
        training={**GROUP_BALANCED, "rand_augment": "rand-m7-mstd0.5-inc1"}, final=False
    ),
    "real: group-balanced + RandAugment 9": Arm(
        training={**GROUP_BALANCED, "rand_augment": "rand-m9-mstd0.5-inc1"}, final=False
    ),
    "real: group-balanced + RandAugment + mixup": Arm(
        training={**_RAND_AUGMENTED, "mix": "mixup"}, final=False
    ),
    "real: group-balanced + RandAugment + LISA": Arm(
        training={**_RAND_AUGMENTED, "mix": "lisa"}, final=False
    ),
    "real: group-balanced + RandAugment + colour jitter": Arm(
        training={**_RAND_AUGMENTED, "color_jitter": 0.4}, final=False
    ),
    CONTROL: Arm(),
    "real: strongest + SMOTE of features": Arm(smote=True),
    CEILING: Arm(MoreReal()),
    **{name: arm for name, arm in SYNTHETIC.items() if not name.endswith("RandAugment")},
}


TWICE_AS_MANY = "equal compute: twice as many"
ON_REAL = "last layer on real"

PAIRS: Sequence[tuple[str, str]] = (
    # Against the same without feedback, and against as much computing without
    *((f"feedback: {each}", UNGUIDED) for each in ("loss", "entropy", "influence")),
    (LOSS, TWICE_AS_MANY),
    ("feedback: loss, 2 rounds", LOSS),
    ("feedback: loss, 2 rounds", f"{UNGUIDED}, 2 rounds"),
    ("feedback: loss, 2 rounds", TWICE_AS_MANY),
    (f"feedback: loss, {ON_REAL}", f"{TWICE_AS_MANY}, {ON_REAL}"),
    (f"feedback: loss, 2 rounds, {ON_REAL}", f"{UNGUIDED}, 2 rounds, {ON_REAL}"),
    (f"feedback: loss, 2 rounds, {ON_REAL}", f"{TWICE_AS_MANY}, {ON_REAL}"),
    (f"feedback: loss, 2 rounds, {ON_REAL}", "real: strongest + cRT"),
    ("feedback: loss, text", "unguided: text"),
    ("feedback: loss, text", f"{TWICE_AS_MANY}, text"),
    ("feedback: exemplar, text", "unguided: text"),
    ("feedback: exemplar, text", f"{TWICE_AS_MANY}, text"),
    ("feedback: exemplar, text", LOSS),
    # A choice in place of a push, by a judge of the data's own images and by one that knows more
    ("equal compute: best of 2 by loss, text, own judge", f"{TWICE_AS_MANY}, text"),
    ("equal compute: best of 2 by loss, text", f"{TWICE_AS_MANY}, text"),
    ("equal compute: best of 2 by loss", TWICE_AS_MANY),
    # What the generator is told
    ("unguided: text", UNGUIDED),
)
"""Arms whose difference within a seed is shown, the second taken from the first."""


def arms_of(place: Place) -> Mapping[str, Arm]:
    """The arms of a data set; without more real images where it has no unused ones."""
    arms = LONG_TAILED if place.meta.groups is None else GROUPED
    return {name: arm for name, arm in arms.items() if name != CEILING or place.has_unused}
