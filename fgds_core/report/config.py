"""What the report shows."""

from pydantic import Field

from fgds_core.section import Section


class ReportConfig(Section):
    """How much of each class the page holds."""

    max_classes: int = Field(
        ge=1,
        le=10_000,
        description="classes with pictures on the page; of more, half are the rarest, a quarter "
        "those that gained most, a quarter those that lost most; the tables have all",
    )
    images_per_class: int = Field(
        ge=1,
        le=1000,
        description="synthetic images shown of each of these classes, at most assess.grid_images, "
        "beside the judge's worst and best and suspected copies",
    )
    neighbours_per_image: int = Field(
        ge=1,
        le=100,
        description="nearest real images beside each of them, at most assess.grid_neighbours",
    )
    max_page_mb: float = Field(
        default=15.0,
        ge=0.0,
        le=1000.0,
        description="megabytes up to which the page holds its pictures; those of a larger one lie "
        "in the folder pictures beside it and are read as classes are opened",
    )
