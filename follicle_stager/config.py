"""One configuration, a part per step; saved beside every result.

The same names and defaults serve the command line, Python and the plugin. Lengths are µm. Values marked [M]
are widely used or were set here by looking, and are no sourced standard; change them in ``study.toml`` or with
``--config FILE.toml``.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from follicle_stager.errors import UserError
from follicle_stager.files import as_toml, read_json, read_text
from follicle_stager.stages import Stage

if TYPE_CHECKING:
    from collections.abc import Mapping

Fraction = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _check_order(part: BaseModel, *names: str) -> None:
    """Refuse ranges that are upside down."""
    for low, high in pairwise(names):
        if getattr(part, low) >= getattr(part, high):
            raise ValueError(f"{low} must be smaller than {high}")


class SlidesConfig(_Part):
    """What may be read of a slide's file; larger pictures are refused before they fill the memory or take hours."""

    max_decoded_mb: Positive = 500.0
    """Largest picture that is decoded at once (PNG, JPEG, BMP), and largest tile or strip of a TIFF, MB."""
    max_overview_mpx: Positive = 1000.0
    """Largest picture that is looked through as a whole, millions of pixels: the coarsest resolution of a slide."""
    max_area_mm2: Positive = 6000.0
    """Largest area of a slide; a glass of 26 x 76 mm has 1976, one of 52 x 76 mm has 3952."""


class TissueConfig(_Part):
    """What is tissue, and what is a section."""

    overview_mpp: Positive = 4.0
    """µm/px at which tissue is told from glass."""
    min_section_mm2: Positive = 0.05
    """Smaller pieces are debris [M]. A section of a prepubertal mouse ovary has 0.3 mm² and more."""
    join_gap_um: Positive = 80.0
    """Pieces closer than this are one torn section [M]."""


class DetectionConfig(_Part):
    """How follicles are found."""

    detector: str = "auto"
    """``network`` needs onnxruntime; ``classical`` needs no weights; ``auto`` is the network where it can run."""
    min_score: Fraction = 0.4
    """The detection threshold: lower finds more follicles and claims more that are none. The network's score is the
    probability that a claim is a follicle, on virtual sections."""
    working_mpp: Positive = 1.0
    """µm/px at which follicles are measured: granulosa nuclei (6-7 µm) are still told apart."""
    max_mpp: Positive = 3.0
    """Coarser slides are refused: layers of granulosa (7 µm) cannot be told apart on them, µm/px."""


class NetworkConfig(_Part):
    """Parameters of the network detector."""

    folder: str = ""
    """Folder of another network than the one that comes with the package."""


class ClassicalConfig(_Part):
    """Parameters of the classical detector."""

    min_oocyte_um: Positive = 20.0
    """Smallest oocyte that is looked for, µm. Primordial ones have 12-20 µm [M]; at 12 and below they are looked for
    too, with many false claims for each true one (docs/classical-detector.md)."""
    max_oocyte_um: Positive = 85.0
    """Largest oocyte, µm: 72 in a Graafian follicle (Griffin 2006), with zona."""
    min_seed: Fraction = 0.03
    """Response of the disc-in-ring filter from which a spot is looked at more closely."""
    min_cavity_um: Positive = 60.0
    """Smallest cavity from which an antral follicle is looked for without its oocyte, µm [M]."""
    max_follicle_um: Positive = 600.0
    """Largest follicle, µm; preovulatory ones pass 400."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_order(self, "min_oocyte_um", "max_oocyte_um")
        return self


class ContentsConfig(_Part):
    """Fluid spaces and oocyte nucleus inside a follicle."""

    fluid_min_area_um2: Positive = 250.0
    """Smallest fluid space: 18 µm across; smaller gaps are between cells of any secondary follicle [M]."""
    fluid_min_width_um: Positive = 6.0
    """Narrower clefts are shrinkage or cracks [M]."""
    oocyte_margin_um: Positive = 5.0
    """Nearer to the oocyte a gap is zona or shrinkage [M]; the zona is 5-8 µm thick [M]."""
    outline_margin_um: Positive = 5.0
    """Nearer to the outline a gap is shrinkage: the basal layer is never fluid."""
    nucleus_min_radius_um: Positive = 4.0
    """Smallest visible part of an oocyte nucleus."""
    nucleus_max_radius_um: Positive = 15.0
    """Largest: the nucleus of a growing oocyte has 20-30 µm."""
    nucleus_min_share: Fraction = 0.22
    """... and at least this share of the oocyte's radius: smaller spots are granules or cells at the border [M]."""
    oocyte_min_share: Fraction = 0.2
    """A body that fills less of the detector's contour is not taken for the oocyte."""
    oocyte_max_excess: Positive = 0.25
    """Hematoxylin above the oocyte's middle from which a pixel is a cell and no cytoplasm."""
    nucleus_min_contrast: Positive = 0.13
    """Hematoxylin of nucleus minus cytoplasm from which the nucleus counts as seen [M]."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_order(self, "nucleus_min_radius_um", "nucleus_max_radius_um")
        return self


class MorphometryConfig(_Part):
    """Cell sizes for counting layers."""

    nucleus_radius_um: Positive = 3.0
    """Of a granulosa nucleus [M]."""
    nucleus_min_response: Positive = 0.06
    """Least contrast of a nucleus, hematoxylin units."""
    cell_pitch_um: Positive = 7.0
    """Distance between neighbouring granulosa nuclei [M]; also the width of a ray."""
    cuboidal_um: Positive = 5.5
    """Granulosa at least this high is cuboidal, below it is flat [M]."""
    pyknotic_darkness: Positive = 1.5
    """A pyknotic nucleus is darker than the lower quartile of the follicle's nuclei by this factor [M]."""
    pyknotic_compactness: Positive = 1.1
    """... and small: ratio of the responses at 0.6 of the nuclear size and at nuclear size [M]."""
    pyknosis_min_nuclei: Annotated[int, Field(ge=1)] = 15
    """Fewer nuclei give no fraction."""


class StagingConfig(_Part):
    """Thresholds of the stage table.

    The table is from the literature; the numbers that turn it into measurements are [M] throughout.
    """

    two_layers_min_fraction: Fraction = 0.35
    """Share of rays with two nuclei or more from which there are two layers. Nuclei missed in the section lower
    the count, so it is below one half."""
    two_layers_min_um: Positive = 12.5
    """Granulosa thickness from which there are two layers: two cells of 6-7 µm."""
    cuboidal_complete: Fraction = 0.75
    """Share of the single layer that is cuboidal from which it is primary."""
    cuboidal_none: Fraction = 0.25
    """... and below which it is primordial; between the two it is transitional."""
    fluid_min_fraction: Share = 0.015
    """Fluid share of the granulosa's area from which there is fluid."""
    antral_min_fraction: Share = 0.20
    """Share of the largest space from which it is one large cavity; below it the follicle is early antral."""
    preovulatory_um: Positive = 400.0
    """Griffin 2006."""
    max_layers_iqr: Positive = 3.0
    """Spread of the layer count above which it says nothing."""
    min_probability: Fraction = 0.55
    """Below it the answer is unsure."""
    pyknosis_max_fraction: Fraction = 0.20
    """Above it a follicle is atretic; 15-20 % were reported in follicles called intact."""
    dying_max_fraction: Fraction = 0.5
    """Network: above this share of dying granulosa a follicle is atretic [M]."""
    oocyte_min_aspect: Fraction = 0.55
    """Short by long axis below which an oocyte is misshapen, a weak sign of atresia."""
    classifier: str = ""
    """Folder of a classifier that ``learn`` made of your corrections; it then stages instead of the criteria."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_order(self, "cuboidal_none", "cuboidal_complete")
        return self


class CountingConfig(_Part):
    """How counts become numbers of follicles. Also ``count`` and what comes after it read these in ``study.toml``."""

    nucleus_height_um: dict[Stage, Positive] = {}
    """Mean height of a stage's oocyte nuclei, as {secondary = 17.0}; others are worked out of their profiles."""
    lost_cap_um: NotNegative = 0.0
    """A nucleus that reaches into a section by less than this is not seen, on either side [M]."""


class ComparisonConfig(_Part):
    """How the verdict is reached."""

    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Share of studies without a block in which one may be found."""
    equivalence_ratio: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 2.0
    """A step whose ratio lies surely between 1/this and this is no block [M]."""


class Config(_Part):
    """All parameters of a study."""

    slides: SlidesConfig = SlidesConfig()
    tissue: TissueConfig = TissueConfig()
    detection: DetectionConfig = DetectionConfig()
    network: NetworkConfig = NetworkConfig()
    classical: ClassicalConfig = ClassicalConfig()
    contents: ContentsConfig = ContentsConfig()
    morphometry: MorphometryConfig = MorphometryConfig()
    staging: StagingConfig = StagingConfig()
    counting: CountingConfig = CountingConfig()
    comparison: ComparisonConfig = ComparisonConfig()

    @model_validator(mode="before")
    @classmethod
    def _of_older_versions(cls, values: Any) -> Any:
        """Versions before 0.3 had the parameters of all detectors in one part."""
        if not isinstance(values, dict) or not isinstance(values.get("detection"), dict):
            return values
        moved = {name: ("classical", name) for name in ClassicalConfig.model_fields} | {
            "network": ("network", "folder")
        }
        values = values | {"detection": dict(values["detection"])}
        for name in moved.keys() & values["detection"].keys():
            part, new_name = moved[name]
            own = values.get(part, {})
            if isinstance(own, dict):
                values[part] = {new_name: values["detection"].pop(name), **own}
        return values

    def with_options(self, **parts: Mapping[str, Any]) -> Config:
        """Return a configuration in which some parameters have other values.

        Parameters
        ----------
        **parts
            Values by name, for each part: ``detection={"min_score": 0.3}``.

        Raises
        ------
        UserError
            If a name is unknown or a value is out of range.
        """
        values = self.model_dump()
        for part, given in parts.items():
            values[part] = values[part] | dict(given)
        try:
            return Config.model_validate(values)
        except ValidationError as error:
            raise UserError(f"{explain(error)}. The names and defaults are in docs/parameters.md.") from None

    def fingerprint(self) -> str:
        """Short hash of all values that a slide's follicles depend on: equal for equal settings."""
        return hashlib.sha256(self.model_dump_json(exclude={"slides", "counting", "comparison"}).encode()).hexdigest()[
            :12
        ]


def load_config(path: str | Path) -> Config:
    """Read a configuration from TOML.

    Raises
    ------
    UserError
        If the file is missing, no TOML, or has an unknown name or a value out of range.
    """
    values = read_values(Path(path))
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error)}. The names and defaults are in docs/parameters.md.") from None


def explain(error: ValidationError) -> str:
    """Say which parameters are wrong, and how to write them."""
    said = {
        "extra_forbidden": "there is no such parameter",
        "tuple_type": "write a range, like [220, 310]",
        "missing": "this is missing",
    }
    problems = []
    for e in error.errors():
        place = ".".join(str(part) for part in e["loc"] if part != "[key]")
        text = said.get(e["type"], e["msg"].removeprefix("Value error, "))
        if e["type"] == "enum" and "stages" in e["loc"]:
            text = "there is no such stage"
        problems.append(f"{place}: {text}" if place else text)
    return "; ".join(dict.fromkeys(problems))


def read_values(path: Path) -> dict[str, Any]:
    """Read parameters from TOML, or from JSON that this software wrote.

    Raises
    ------
    UserError
        If the file is missing or neither.
    """
    if path.suffix.lower() == ".json":
        values = read_json(path)
    else:
        text = read_text(path)
        try:
            values = tomllib.loads(text)
        except (ValueError, RecursionError) as error:  # no TOML, a number of thousands of digits, too deep
            raise UserError(f"{path}: this is not valid TOML ({error}); mend that line, or restore the file.") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: this holds no named parameters.")
    return values


def changes(before: Config, after: Config) -> dict[str, str]:
    """Parameters in which two configurations differ, by name, and how, in words."""
    old, new = (config.model_dump(mode="json") for config in (before, after))
    return {
        f"{part}.{name}": f"{part}.{name} was {_shown(old[part][name])}, now {_shown(value)}"
        for part, values in new.items()
        for name, value in values.items()
        if old[part][name] != value
    }


def dump_config(config: Config) -> str:
    """Write a configuration as TOML: one table per step."""
    return as_toml(config.model_dump(mode="json"))


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
