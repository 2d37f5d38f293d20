"""What the report shows."""

from pydantic import Field

from fgds_core.section import Section


class ReportConfig(Section):
    """How much of each class the page holds."""

    max_classes: int = Field(
        ge=1,
        le=10_000,
        description="classes in the plots, tables and sample grid of the page; of more, half are "
        "the rarest, a quarter those that gained most, a quarter those that lost most; the CSV "
        "files beside it have all",
    )
    images_per_class: int = Field(
        ge=1,
        le=1000,
        description="synthetic images shown of each of these classes, at most assess.grid_images",
    )
    neighbours_per_image: int = Field(
        ge=1,
        le=100,
        description="nearest real images beside each of them, at most assess.grid_neighbours",
    )
