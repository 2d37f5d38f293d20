"""A judge that is a classifier of these classes, trained elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fgds_core.classify.card import read_classifier_config
from fgds_core.errors import InputError
from fgds_core.generators.config import GeneratorConfig
from fgds_core.judge.config import JudgeConfig
from fgds_core.judge.kinds import Kind
from fgds_core.judge.record import JudgeRecord, composed
from fgds_core.pretrained.component import check_weights
from fgds_core.pretrained.folder import Folder, is_folder

if TYPE_CHECKING:
    from torch import Tensor

    from fgds_core.classify.network import Classifier
    from fgds_core.judge.kinds import See

KEY = "judge.path"

ELSE = "or set judge.kind to cross_fitted and judge.path to null, which trains one for these data"

REMEDY = f"name the folder of a classifier that was trained on these classes, {ELSE}"


def check(config: JudgeConfig, generator: GeneratorConfig, names: Sequence[str] | None) -> None:
    """Refuses a folder that holds no classifier of the data's classes; loads nothing."""
    place = Folder(Path(str(config.path)), KEY, REMEDY)
    if not is_folder(place.path):
        raise place.wrong("does not exist")
    try:
        known = read_classifier_config(place.path, REMEDY).class_names
    except InputError as error:
        raise InputError(f"{KEY}: {error}") from error
    check_weights(place, "model")
    if names is not None:
        check_classes(place, known, names)


def check_classes(place: Folder, known: Sequence[str], names: Sequence[str]) -> None:
    """Refuses a classifier of other classes, or of these in another order."""
    known, names = composed(known), composed(names)
    if known == names:
        return
    if sorted(known) == sorted(names):
        raise place.wrong("knows the classes of the data in another order")
    differing = [name for name in known if name not in names] or known
    raise place.wrong(
        f"knows {len(known)} classes, such as {', '.join(map(repr, differing[:3]))}, the data"
        f" has {len(names)}: {', '.join(map(repr, names[:5]))}{' ...' * (len(names) > 5)}"
    )


def load_witness(folder: Path, class_names: Sequence[str], device: str = "cpu") -> Classifier:
    """Loads a classifier of these classes that had no part in the drawing.

    Raises:
        InputError: It cannot be read, or knows other classes.
    """
    from fgds_core.classify.network import load_classifier

    try:
        found = load_classifier(folder, device)
    except InputError as error:
        raise InputError(f"{KEY}: {error}; {ELSE}") from error
    check_classes(Folder(folder, KEY, REMEDY), found.class_names, class_names)
    return found


def probabilities_of(classifier: Classifier, x: Tensor) -> Tensor:
    """What a classifier says of images, at the temperature fitted for it, [B, K]."""
    logits: Tensor = classifier(x)
    return (logits.float() / classifier.temperature).softmax(dim=-1)


def _who(
    config: JudgeConfig,
    generator: GeneratorConfig,
    class_names: Sequence[str],
    groups: Sequence[str],
) -> JudgeRecord:
    return JudgeRecord(config.kind, config.path, tuple(class_names))


def _load(folder: Path, record: JudgeRecord, device: str) -> See:
    classifier = load_witness(Path(str(record.path)), record.class_names, device)
    return lambda x, without: probabilities_of(classifier, x)


KIND = Kind(check, _who, _load)
