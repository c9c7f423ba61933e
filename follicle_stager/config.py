"""The configuration, with one part per step; it is saved with every result.

The command line, Python and the plugin use the same names and defaults. Lengths are µm. Values marked [M] are widely
used or were set by eye and have no published source; change them in ``study.toml`` or with ``--config FILE.toml``.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from follicle_stager.errors import UserError
from follicle_stager.files import as_toml, read_json, read_text
from follicle_stager.stages import RUNGS, Stage

if TYPE_CHECKING:
    from collections.abc import Mapping

Fraction = Annotated[float, Field(ge=0, le=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _check_order(part: BaseModel, *names: str) -> None:
    """Raise an error if the lower end of a range is not below the upper end."""
    for low, high in pairwise(names):
        if getattr(part, low) >= getattr(part, high):
            raise ValueError(f"{low} must be smaller than {high}")


class SlidesConfig(_Part):
    """Size limits for slides; larger images are refused before they fill the memory or take hours."""

    max_decoded_mb: Positive = 500.0
    """Largest image that is decoded at once (PNG, JPEG, BMP), and largest tile or strip of a TIFF, MB."""
    max_overview_mpx: Positive = 1000.0
    """Largest image that is processed as a whole, millions of pixels: the lowest resolution of a slide."""
    max_area_mm2: Positive = 6000.0
    """Largest area of a slide, mm²; a glass slide of 26 x 76 mm has 1976, one of 52 x 76 mm has 3952."""


class TissueConfig(_Part):
    """How tissue and sections are found."""

    overview_mpp: Positive = 4.0
    """Resolution at which tissue is separated from glass, µm/px."""
    min_section_mm2: Positive = 0.05
    """Smallest section, mm²; smaller pieces are debris [M]. A section of a prepubertal mouse ovary has 0.3 mm² or
    more."""
    join_gap_um: Positive = 80.0
    """Largest gap within a torn section, µm: pieces closer than this are one section [M]."""


class DetectionConfig(_Part):
    """How follicles are found."""

    detector: str = "auto"
    """``network`` needs onnxruntime; ``classical`` needs no weights; ``auto`` is the network if it can run."""
    min_score: Fraction = 0.4
    """Detection threshold: a lower one finds more follicles and makes more false claims. The score of the network is
    the probability that a claim is a follicle, on virtual sections."""
    working_mpp: Positive = 1.0
    """Resolution at which follicles are measured, µm/px: granulosa nuclei (6-7 µm) can still be distinguished."""
    max_mpp: Positive = 3.0
    """Lowest resolution, µm/px; coarser slides are refused, because granulosa layers (7 µm) cannot be distinguished
    on them."""


class NetworkConfig(_Part):
    """Parameters of the network detector."""

    folder: str = ""
    """Folder of a network to use instead of the one in the package."""
    engine: Literal["auto", "cuda", "directml", "onnxruntime", "openvino", "coreml"] = "auto"
    """Library that computes the network: onnxruntime, cuda, directml, openvino or coreml (docs/howto-cluster.md).
    ``auto`` is cuda or directml where they can run, otherwise onnxruntime."""


class ClassicalConfig(_Part):
    """Parameters of the classical detector."""

    min_oocyte_um: Positive = 20.0
    """Diameter of the smallest oocyte that is searched for, µm. Primordial ones have 12-20 µm [M]; with 12 or less,
    they are searched for too, with many false claims for each true one (docs/classical-detector.md)."""
    max_oocyte_um: Positive = 85.0
    """Diameter of the largest oocyte, µm: 72 in a Graafian follicle (Griffin 2006), plus the zona."""
    min_seed: Fraction = 0.03
    """Smallest response of the disc-in-ring filter at which a spot is examined further."""
    min_cavity_um: Positive = 60.0
    """Smallest cavity at which an antral follicle is searched for without its oocyte, µm [M]."""
    max_follicle_um: Positive = 600.0
    """Diameter of the largest follicle, µm; preovulatory ones exceed 400."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_order(self, "min_oocyte_um", "max_oocyte_um")
        return self


class ContentsConfig(_Part):
    """Fluid spaces and oocyte nucleus inside a follicle."""

    fluid_min_area_um2: Positive = 250.0
    """Smallest fluid space, µm²: 18 µm in diameter; every secondary follicle has smaller gaps between its cells
    [M]."""
    fluid_min_width_um: Positive = 6.0
    """Smallest width of a fluid space, µm; narrower clefts are shrinkage or cracks [M]."""
    oocyte_margin_um: Positive = 5.0
    """Distance to the oocyte within which a gap is zona or shrinkage, µm [M]; the zona is 5-8 µm thick [M]."""
    outline_margin_um: Positive = 5.0
    """Distance to the outline within which a gap is shrinkage, µm: the basal layer is never fluid."""
    nucleus_min_radius_um: Positive = 4.0
    """Radius of the smallest visible part of an oocyte nucleus, µm."""
    nucleus_max_radius_um: Positive = 15.0
    """Radius of the largest oocyte nucleus, µm: the nucleus of a growing oocyte has a diameter of 20-30 µm."""
    nucleus_min_share: Fraction = 0.22
    """Smallest radius of the nucleus as a share of the oocyte's radius: smaller spots are granules or cells at the
    border [M]."""
    oocyte_min_share: Fraction = 0.2
    """Smallest share of the detector's contour that an oocyte fills; a smaller object is not taken for the oocyte."""
    oocyte_max_excess: Positive = 0.25
    """Hematoxylin above that of the oocyte's middle at which a pixel is a cell and not cytoplasm."""
    nucleus_min_contrast: Positive = 0.13
    """Smallest hematoxylin of nucleus minus cytoplasm at which the nucleus counts as visible [M]."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_order(self, "nucleus_min_radius_um", "nucleus_max_radius_um")
        return self


class MorphometryConfig(_Part):
    """Cell sizes for counting granulosa layers and pyknotic nuclei."""

    nucleus_radius_um: Positive = 3.0
    """Radius of a granulosa nucleus, µm [M]."""
    nucleus_min_response: Positive = 0.06
    """Smallest contrast of a nucleus, hematoxylin units."""
    cell_pitch_um: Positive = 7.0
    """Distance between neighbouring granulosa nuclei, µm [M]; also the width of a ray."""
    cuboidal_um: Positive = 5.5
    """Smallest height of cuboidal granulosa, µm; below it, granulosa is flat [M]."""
    pyknotic_darkness: Positive = 1.5
    """Factor by which a pyknotic nucleus is darker than the lower quartile of the follicle's nuclei [M]."""
    pyknotic_compactness: Positive = 1.1
    """Smallest ratio of the responses at 0.6 of the nuclear size and at nuclear size: a pyknotic nucleus is also small
    [M]."""
    pyknosis_min_nuclei: Annotated[int, Field(ge=1)] = 15
    """Smallest number of nuclei from which a pyknotic fraction is calculated."""


class StagingConfig(_Part):
    """Thresholds of the stage table.

    The table is from the literature; all numbers that turn it into measurements are [M].
    """

    two_layers_min_fraction: Fraction = 0.35
    """Share of rays with two or more nuclei at which there are two layers. It is below one half because nuclei that
    are missed in the section lower the count."""
    two_layers_min_um: Positive = 12.5
    """Granulosa thickness at which there are two layers, µm: two cells of 6-7 µm."""
    cuboidal_complete: Fraction = 0.75
    """Cuboidal share of the single layer at which a follicle is primary."""
    cuboidal_none: Fraction = 0.25
    """Cuboidal share of the single layer below which a follicle is primordial; between the two shares it is
    transitional."""
    fluid_min_fraction: Share = 0.015
    """Share of fluid in the granulosa's area at which a follicle has fluid."""
    antral_min_fraction: Share = 0.20
    """Share of the largest fluid space in the granulosa's area at which it is one large cavity; below it, the follicle
    is early antral."""
    preovulatory_um: Positive = 400.0
    """Diameter at which an antral follicle is preovulatory, µm (Griffin 2006)."""
    max_layers_iqr: Positive = 3.0
    """Interquartile range of the layer count above which the count is not used."""
    min_probability: Fraction = 0.55
    """Smallest probability of a stage; below it, the stage is unsure."""
    pyknosis_max_fraction: Fraction = 0.20
    """Share of pyknotic nuclei above which a follicle is atretic; 15-20 % were reported in follicles called intact."""
    dying_max_fraction: Fraction = 0.25
    """Share of dying granulosa above which a follicle is atretic (network) [M]."""
    oocyte_min_aspect: Fraction = 0.55
    """Ratio of short to long axis below which an oocyte is misshapen, a weak sign of atresia."""
    classifier: str = ""
    """Folder of a classifier that ``learn`` made from your corrections; it replaces the criteria."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        _check_order(self, "cuboidal_none", "cuboidal_complete")
        return self


class CountingConfig(_Part):
    """How counts become numbers of follicles. ``count`` and later commands read these from ``study.toml``, too."""

    nucleus_height_um: dict[Stage, Positive] = {}
    """Mean height of the oocyte nuclei of a stage, µm, as {secondary = 17.0}; for stages without a value, it is
    estimated from their profiles."""
    lost_cap_um: NotNegative = 0.0
    """Depth up to which a nucleus may reach into a section without being seen, on either side, µm [M]."""


class AuditConfig(_Part):
    """Which part of the tissue a person checks in an audit."""

    field_um: Annotated[float, Field(ge=50, le=2000)] = 300.0
    """Side of a field, µm [M]. A follicle belongs to the field that holds its oocyte nucleus, or else its centre."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Share of the fields of each animal that is checked; at least 20 fields are."""
    repeats: Annotated[int, Field(ge=0)] = 20
    """Number of fields that are checked twice; with fewer than 20, no agreement is reported."""


class ComparisonConfig(_Part):
    """How the verdict is reached."""

    alpha: Annotated[float, Field(gt=0, le=0.05)] = 0.05
    """Significance level: the largest share of studies without an arrest or block in which one is found."""
    contrast: Literal["primordial", "primary", "secondary", "early_antral"] = "secondary"
    """The question of the study, named before the data are seen: are follicles arrested at this stage?"""
    contrast_named: str = ""
    """Stage and date of the question when it was named; filled in when the study is made, or the question changes."""
    reference: str = ""
    """Group of the sample sheet with which all others are compared; empty: control."""
    dose: tuple[str, ...] = ()
    """Groups in the order of gene dose, e.g. WT, het, KO: their trend is tested too."""
    by: str = "stimulation"
    """Column of the sample sheet whose values are never pooled: treatments, ages. Empty: all animals are pooled."""
    litters: Literal["use", "ignore"] = "use"
    """Whether littermates count as one unit, or as pairs if litters have animals of both groups; or as independent."""
    batches: Literal["ignore", "constant"] = "ignore"
    """Whether batches are held constant."""
    equivalence_ratio: Annotated[float, Field(gt=1, allow_inf_nan=False)] = 2.0
    """Limit of equivalence: a step is not blocked if the interval of its ratio lies between 1/limit and limit [M]."""
    total_loss_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Total loss: the ratios of primordial and of growing follicles are both below this limit [M]."""

    @property
    def contrast_place(self) -> int:
        """Place of the question's rung on the ladder, from 0."""
        return list(RUNGS).index(self.contrast)

    @property
    def named_on(self) -> str:
        """Date on which the question was named; empty if it is unknown, or the question was changed by hand since."""
        stage, _, date = self.contrast_named.partition(", ")
        return date if stage == self.contrast else ""


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
    audit: AuditConfig = AuditConfig()
    comparison: ComparisonConfig = ComparisonConfig()

    @model_validator(mode="before")
    @classmethod
    def _of_older_versions(cls, values: Any) -> Any:
        return _moved(values) if isinstance(values, dict) else values

    def with_options(self, **parts: Mapping[str, Any]) -> Config:
        """Return a configuration in which some parameters have other values.

        Parameters
        ----------
        **parts
            New values by name, for each part: ``detection={"min_score": 0.3}``.

        Raises
        ------
        UserError
            If a name is unknown or a value is out of range.
        """
        values = self.model_dump()
        for part, given in _moved({part: dict(given) for part, given in parts.items()}).items():
            values[part] = values.get(part, {}) | given
        try:
            return Config.model_validate(values)
        except ValidationError as error:
            raise UserError(f"{explain(error)}. The names and defaults are in docs/parameters.md.") from None

    def fingerprint(self) -> str:
        """Short hash of all values that affect the follicles of a slide; equal settings have the same hash."""
        return hashlib.sha256(
            # The engine is a part of the detector's identity, whether it was named or chosen.
            self.model_dump_json(
                exclude={"slides": True, "counting": True, "audit": True, "comparison": True, "network": {"engine"}}
            ).encode()
        ).hexdigest()[:12]


def _moved(values: dict[str, Any]) -> dict[str, Any]:
    """Move parameters of older files: versions before 0.3 had those of all detectors in one part."""
    if not isinstance(values.get("detection"), dict):
        return values
    places = {name: ("classical", name) for name in ClassicalConfig.model_fields} | {"network": ("network", "folder")}
    values = values | {"detection": dict(values["detection"])}
    for name in places.keys() & values["detection"].keys():
        part, new_name = places[name]
        own = values.get(part, {})
        if isinstance(own, dict):
            values[part] = {new_name: values["detection"].pop(name), **own}
    return values


def load_config(path: str | Path) -> Config:
    """Read a configuration from TOML.

    Raises
    ------
    UserError
        If the file is missing or not TOML, or if a name is unknown or a value is out of range.
    """
    values = read_values(Path(path))
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error)}. The names and defaults are in docs/parameters.md.") from None


def explain(error: ValidationError) -> str:
    """Return a message that says which parameters are wrong, and how to write them."""
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
        If the file is missing or cannot be read as either.
    """
    if path.suffix.lower() == ".json":
        values = read_json(path)
    else:
        text = read_text(path)
        try:
            values = tomllib.loads(text)
        except (ValueError, RecursionError) as error:  # not TOML, a number with thousands of digits, deep nesting
            raise UserError(f"{path}: this is not valid TOML ({error}); correct or restore the file.") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: the file contains no named parameters.")
    return values


def changes(before: Config, after: Config) -> dict[str, str]:
    """Parameters that differ between two configurations: the difference in words, by name."""
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
