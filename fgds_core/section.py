"""What all sections of the parameters have in common."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section: unknown keys and wrong types are refused, values never change afterwards.

    Numbers are finite, and no error repeats a value: a secret may have slipped in.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
    )
