"""What all sections of the parameters have in common."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section: unknown keys and wrong types are refused, values never change afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
