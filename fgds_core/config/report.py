"""What the report shows."""

from pydantic import Field, PositiveInt

from fgds_core.config.section import Section


class ReportConfig(Section):
    """How much of each class the page holds."""

    max_classes: PositiveInt = Field(
        description="classes in the plots, tables and sample grid of the page; of more, half are "
        "the rarest, a quarter those that gained most, a quarter those that lost most; the CSV "
        "files beside it have all"
    )
    images_per_class: PositiveInt = Field(
        description="synthetic images shown of each of these classes, at most assess.grid_images"
    )
    neighbours_per_image: PositiveInt = Field(
        description="nearest real images beside each of them, at most assess.grid_neighbours"
    )
