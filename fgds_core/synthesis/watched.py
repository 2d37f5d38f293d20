"""Takes notes while a classifier guides: the criterion at each step, and how steep it was.

This wraps what values images, outside the code that draws, and changes no pixel. The notes on a
part are written before the part itself, so that none is finished without them.

B images, S gradients of an image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fgds_core.feedback.criterion import Together
from fgds_core.feedback.critic import Feedback
from fgds_core.synthesis.steps import Row, steps_path, write_steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fgds_core.synthesis.models import LoadedModels
    from fgds_core.synthesis.plan import Part


@dataclass
class Notes:
    """What was noted of the batches of a part.

    Attributes:
        values: The criterion of the images of a batch, in turn for each step, [S B] in pieces.
        norms: Norms of its gradients, in the same order.
        num_finished: How often an image of the batch was valued when it was finished.
        rows: Of the batches before: both lists of each image, or None twice.
    """

    values: list[Tensor] = field(default_factory=list)
    norms: list[Tensor] = field(default_factory=list)
    num_finished: int = 0
    rows: list[Row] = field(default_factory=list)

    def asked(self, x: Tensor, values: Tensor) -> None:
        """Notes that images were valued: for a gradient, or because they are finished."""
        if not x.requires_grad:
            self.num_finished += len(values)
            return
        self.values.append(values.detach())
        hook: Any = x.register_hook  # which torch does not type
        hook(lambda grad: self.norms.append(_norm(grad)))

    def batch_ends(self, num_images: int) -> None:
        """Sorts what was noted by image.

        Args:
            num_images: Of the batch, B.
        """
        values, norms = (
            torch.cat([torch.empty(0), *(v.cpu().float() for v in its)])
            for its in (self.values, self.norms)
        )
        # Valued twice when finished: an image was drawn again, and whose values these are is lost
        whole = self.num_finished == num_images and len(values) == len(norms)
        if whole and not len(values) % num_images:
            columns = [each.view(-1, num_images).T.tolist() for each in (values, norms)]  # [B, S]
            self.rows += zip(*columns, strict=True)
        else:
            self.rows += [(None, None)] * num_images
        self.values, self.norms, self.num_finished = [], [], 0


def _norm(grad: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(grad.detach().float(), dim=(1, 2, 3))
    return norms  # [B]


@dataclass(frozen=True)
class Watched(Feedback):
    """A feedback that has notes taken of it; see `Feedback`."""

    notes: Notes = field(default_factory=Notes)

    def __call__(
        self,
        x: Tensor,
        labels: Tensor,
        rngs: Sequence[torch.Generator] | None = None,
        together: Together | None = None,
    ) -> Tensor:
        """The values, as they are."""
        values = super().__call__(x, labels, rngs, together)
        self.notes.asked(x, values)
        return values


def watched(
    models: LoadedModels,
    part: Part,
    fingerprint: str,
    out: Path,
    advance: Callable[[int], object],
) -> tuple[LoadedModels, Callable[[int], object]]:
    """The same to draw a part with, but notes are taken and written when its last batch is done.

    Args:
        models: What it is drawn with.
        part: The part.
        fingerprint: Of everything that decides what it holds.
        out: Folder of the synthetic set.
        advance: Called with the number of images done since the last call.

    Returns:
        The models, and what is to be called in the place of `advance`.
    """
    path = steps_path(out, part.path)
    if models.feedback is None:
        path.unlink(missing_ok=True)
        return models, advance
    notes = Notes()
    own = {each.name: getattr(models.feedback, each.name) for each in fields(Feedback)}

    def batch_done(num_images: int) -> None:
        notes.batch_ends(num_images)
        if len(notes.rows) == part.num_images:
            write_steps(path, part.first_index, notes.rows, fingerprint)
        advance(num_images)

    return replace(models, feedback=Watched(**own, notes=notes)), batch_done
