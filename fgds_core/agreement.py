"""What the sections of the parameters have to agree on, beyond what each says alone."""

from collections.abc import Iterator
from importlib import import_module

from pydantic import ValidationError

from fgds_core.adapt.adaptation import KINDS as ADAPTABLE
from fgds_core.adapt.config import AdaptConfig
from fgds_core.assess.config import AssessConfig
from fgds_core.classify.config import RetrainConfig, TrainConfig, final_recipe
from fgds_core.data.cells import names_group
from fgds_core.diffusion.schedulers import EITHER, FLOW_SCHEDULERS
from fgds_core.generators.config import GeneratorConfig
from fgds_core.synthesis.config import SynthesizeConfig

TEXT_ALONE = ("text-to-image", "stable-diffusion-3")
"""Kinds of generators that no image conditions, and that have no vision tower."""

CLEAN = {"ip-adapter": "IP-Adapters are", "kandinsky-2.2": "Kandinsky 2.2 is"}
"""Kinds of generators that know no noise on the embedding of an image, as messages name them."""

FLOW = ("stable-diffusion-3",)
"""Kinds of generators that predict a flow."""


def disagreements(
    generator: GeneratorConfig, synthesize: SynthesizeConfig, assess: AssessConfig
) -> Iterator[str]:
    """Says what does not go together: the key, its value, why, and what to do."""
    kind = generator.kind
    if kind in TEXT_ALONE and synthesize.conditioning != "text":
        yield (
            f"synthesize.conditioning: got {synthesize.conditioning}, but generator.kind {kind}"
            " takes text alone; set it to text, or choose stable-unclip, ip-adapter or"
            " kandinsky-2.2"
        )
    if synthesize.embedding_mix != "none" and synthesize.conditioning == "text":
        yield (
            f"synthesize.embedding_mix: got {synthesize.embedding_mix}, but with conditioning text"
            " no image is embedded; set it to none, or choose another synthesize.conditioning"
        )
    if kind in TEXT_ALONE and assess.features == "clip":
        yield (
            f"assess.features: got clip, but generator.kind {kind} has no CLIP vision tower;"
            " choose inception or classifier"
        )
    if kind in CLEAN and synthesize.noise_level:
        yield (
            f"synthesize.noise_level: got {synthesize.noise_level}, but {CLEAN[kind]} not trained"
            " with noised image embeddings; set it to 0"
        )
    yield from _guide_disagreements(synthesize)
    if synthesize.rounds > 1 and synthesize.round_quotas == "even" and not _is_guided(synthesize):
        yield (
            f"synthesize.rounds: got {synthesize.rounds}, but without feedback and with even"
            " round_quotas the classifiers between rounds decide nothing; set rounds to 1,"
            " round_quotas to by_error, or choose a feedback"
        )
    if synthesize.feedback_decoder == "tiny" and generator.tiny_decoder is None:
        yield (
            "synthesize.feedback_decoder: got tiny, but generator.tiny_decoder is null; name an"
            " AutoencoderTiny there, or choose exact or half"
        )
    if (
        names_group(generator.prompts)
        and synthesize.conditioning == "text"
        and synthesize.target_per_group is None
    ):
        yield (
            "generator.prompts: got {group}, but drawn from text alone an image has no group;"
            " set synthesize.target_per_group, or choose another synthesize.conditioning"
        )
    solvers = FLOW_SCHEDULERS + EITHER
    if kind in FLOW and synthesize.scheduler not in solvers:
        yield (
            f"synthesize.scheduler: got {synthesize.scheduler}, but generator.kind {kind} predicts"
            f" a flow; choose {', '.join(solvers)}"
        )
    if kind not in FLOW and synthesize.scheduler in FLOW_SCHEDULERS:
        yield (
            f"synthesize.scheduler: got {synthesize.scheduler}, which solves flows, but"
            f" generator.kind {kind} is a diffusion model; choose another, such as DDIMScheduler"
        )


def _is_guided(config: SynthesizeConfig) -> bool:
    return config.feedback != "none" and config.feedback_scale > 0


MEASURED_ON_REAL = ("loss", "hardness", "entropy")
"""Criteria whose mean on real images the training of the baseline writes down."""

FEATURES_ALONE = ("hardness", "exemplar")
"""Criteria to which the classifier's logits say nothing."""

BASELINE_ALONE = {
    "feedback": ("hardness", "the Gaussians of its features"),
    "feedback_target": ("real", "its criterion on real images"),
    "feedback_augment": (True, "the size of the images it was shown"),
}
"""Values of `synthesize` that need more of a guide than its network, and what that is."""


def _guide_disagreements(config: SynthesizeConfig) -> Iterator[str]:
    """Says what the classifier that guides cannot give."""
    if config.feedback == "none":
        return
    if config.feedback == "disagreement" and config.guide != "both":
        yield (
            f"synthesize.feedback: got disagreement, which is that of a committee, but guide is"
            f" {config.guide}; set synthesize.guide to both, or choose another criterion"
        )
    if config.guide != "baseline":
        for key, (value, what) in BASELINE_ALONE.items():
            if getattr(config, key) == value:
                shown = str(value).lower()
                yield (
                    f"synthesize.{key}: got {shown}, but guide is {config.guide}, and {what} is"
                    " known of the baseline alone; set synthesize.guide to baseline, or choose"
                    f" another {key}"
                )
    if config.feedback == "influence" and config.guide == "both":
        yield (
            "synthesize.feedback: got influence, which is of one last layer, but guide is both;"
            " set synthesize.guide to baseline or control, or choose another criterion"
        )
    measured = (*MEASURED_ON_REAL, "disagreement")  # what that one needs is said above
    if config.feedback_target == "real" and config.feedback not in measured:
        yield (
            f"synthesize.feedback_target: got real, but feedback {config.feedback} is not measured"
            f" on real images; set it to none, or feedback to {', '.join(MEASURED_ON_REAL)}"
        )
    if config.feedback_tau and config.feedback in FEATURES_ALONE:
        yield (
            f"synthesize.feedback_tau: got {config.feedback_tau:g}, but feedback {config.feedback}"
            " looks at features, not at logits; set it to 0, or choose another criterion"
        )
    elif config.feedback_tau and config.feedback_target == "real":
        yield (
            f"synthesize.feedback_tau: got {config.feedback_tau:g}, but what feedback_target real"
            " stops at was measured with the prior; set it to 0, or feedback_target to none"
        )


def adapter_disagreements(
    adapt: AdaptConfig, generator: GeneratorConfig, synthesize: SynthesizeConfig
) -> Iterator[str]:
    """Says which generators cannot learn, and that somebody has to say what.

    Args:
        adapt: The section adapt.
        generator: What would learn.
        synthesize: Says how many images the generator check draws.
    """
    if adapt.enabled and generator.kind not in ADAPTABLE:
        yield (
            f"adapt.enabled: got true, but a generator of kind {generator.kind} cannot learn here;"
            f" set it to false, or choose {' or '.join(ADAPTABLE)}"
        )
    if adapt.enabled and adapt.classes == "needed" and not synthesize.check_images:
        yield (
            "adapt.classes: got needed, but synthesize.check_images is 0, and the generator check"
            " says which need it; set check_images to 20, or classes to all or to their names"
        )


def training_disagreements(
    baseline: TrainConfig,
    retrain: RetrainConfig,
    processes: int | None = 1,
    synthesize: SynthesizeConfig | None = None,
) -> Iterator[str]:
    """Says what makes no recipe of the baseline or of the final classifier.

    Args:
        baseline: The section train_baseline.
        retrain: The section retrain.
        processes: Those that learn together, `compute.training_processes`.
        synthesize: The section synthesize, whose images the final classifier learns from; None
            where it is not known.
    """
    mistakes = list(_recipe_disagreements(baseline))
    yield from (f"train_baseline.{mistake}" for mistake in mistakes)
    try:
        final = final_recipe(baseline, retrain.training)
    except ValidationError as error:
        for fault in error.errors(include_url=False, include_input=False):
            key = ".".join(map(str, ("retrain.training", *fault["loc"])))
            yield f"{key}: {fault['msg'].removeprefix('Value error, ')}"
        return
    for mistake in _recipe_disagreements(final):
        if mistake not in mistakes:  # said once
            yield f"retrain.training.{mistake}"
    yield from _treatment_disagreements(final, retrain)
    if retrain.split_batch_norm and processes != 1:
        yield (
            "retrain.split_batch_norm: needs the whole batch in one process; set"
            " compute.training_processes to 1, or split_batch_norm to false"
        )
    if synthesize is not None:
        yield from _group_disagreements(final, synthesize)
        yield from _last_layer_disagreements(baseline, final, synthesize)


def _last_layer_disagreements(
    baseline: TrainConfig, final: TrainConfig, synthesize: SynthesizeConfig
) -> Iterator[str]:
    """Says whose last layer has no gradient that influence could compare."""
    if synthesize.feedback != "influence":
        return
    guiding = []
    if synthesize.guide == "baseline":
        guiding.append(("train_baseline", baseline))
    if synthesize.guide == "control" or synthesize.rounds > 1:  # as those between rounds
        guiding.append(("retrain.training", final))
    for section, recipe in guiding:
        if recipe.head != "cosine":
            continue
        yield (
            f"{section}.head: got cosine, but synthesize.feedback influence compares gradients of"
            " a linear last layer; set it to linear, or choose another criterion"
        )


def _group_disagreements(final: TrainConfig, synthesize: SynthesizeConfig) -> Iterator[str]:
    """Says what of the final recipe wants groups that the synthetic images will not have."""
    if synthesize.conditioning != "text" or synthesize.target_per_group is not None:
        return
    by_group = {"sampling": "group_balanced", "loss": "group_dro", "mix": "lisa"}
    for key, value in by_group.items():
        if getattr(final, key) == value:
            yield (
                f"retrain.training.{key}: got {value}, but drawn from text alone a synthetic image"
                " has no group; set synthesize.target_per_group, or choose another"
                f" synthesize.conditioning or {key}"
            )


def _recipe_disagreements(config: TrainConfig) -> Iterator[str]:
    """Says what in a recipe does not go together, from the key on."""
    if config.tune != "all" and config.pretrained == "none":
        yield (
            f"tune: got {config.tune}, but pretrained is none, and features of random"
            " weights would stay as they are; name pre-trained weights, or set tune to all"
        )
    if config.posthoc == "tau_normalization" and config.head == "cosine":
        yield (
            "posthoc: got tau_normalization, but the weights of head cosine count as"
            " of norm 1 already; choose logit_adjustment or none, or head linear"
        )
    if config.loss == "ldam" and config.head != "cosine":
        yield (
            f"loss: got ldam, whose margins are of cosines, but head is {config.head};"
            " set head to cosine, or choose another loss"
        )
    if config.loss == "label_aware_smoothing" and config.label_smoothing:
        yield (
            f"label_smoothing: got {config.label_smoothing:g}, but loss"
            " label_aware_smoothing smooths each class by a share of its own; set it to 0"
        )
    if config.loss == "group_dro" and config.mix != "none":
        yield (
            f"mix: got {config.mix}, but loss group_dro weighs groups, and a mixed image"
            " is of two; set mix to none, or choose another loss"
        )
    if config.loss_kwargs:
        losses = import_module("fgds_core.classify.losses")  # By name: it costs torch

        try:
            losses.check_loss(config)
        except ValueError as error:
            yield f"loss_kwargs: {error}"
    if config.rand_augment is not None:
        transforms = import_module("fgds_core.classify.transforms")

        try:
            transforms.check_policy(config.rand_augment)
        except ValueError as error:
            yield f"rand_augment: {error}"


def _treatment_disagreements(config: TrainConfig, retrain: RetrainConfig) -> Iterator[str]:
    """Says what is asked of synthetic images and does not go together."""
    if retrain.synthetic_weight == 0 and retrain.real_share == 0:
        yield (
            "retrain.synthetic_weight: got 0, and with real_share 0 there are no other images to"
            " learn from; raise one of them"
        )
    smoothing = retrain.synthetic_label_smoothing
    if smoothing is not None and config.loss in ("label_aware_smoothing", "group_dro"):
        reason = {
            "label_aware_smoothing": "smooths each class by a share of its own",
            "group_dro": "has one smoothing for all images of a group",
        }[config.loss]
        yield (
            f"retrain.synthetic_label_smoothing: got {smoothing:g}, but loss {config.loss}"
            f" {reason}; set it to null"
        )
    if not retrain.split_batch_norm:
        return
    real = round(retrain.real_share * config.batch_size)
    if min(real, config.batch_size - real) < 2:
        yield (
            f"retrain.split_batch_norm: a batch of {config.batch_size} with real_share"
            f" {retrain.real_share:g} holds {real} real images, and either source needs 2 for"
            " statistics of its own; correct real_share, or set split_batch_norm to false"
        )
    if config.mix != "none" and not retrain.mix_within_source:
        yield (
            f"retrain.split_batch_norm: mix {config.mix} makes images that are real and synthetic"
            " at once; set mix_within_source to true, or split_batch_norm to false"
        )
    if config.tune != "all":
        yield (
            f"retrain.split_batch_norm: with tune {config.tune} batch normalisation keeps the"
            " statistics it has; set split_batch_norm to false, or tune to all"
        )
    norms = import_module("fgds_core.classify.norms")
    if not norms.has_batch_norm(config.model, config.model_kwargs):
        yield (
            f"retrain.split_batch_norm: {config.model} has no batch normalisation; set it to"
            " false, or choose another network"
        )
