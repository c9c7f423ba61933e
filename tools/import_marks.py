r"""Turn annotations from QuPath or ImageJ into the marks of a picture, for `make real`.

    python tools/import_marks.py PICTURE ANNOTATIONS --mpp 0.25 --licence "CC BY 4.0" --creator "A. Name" \
        --source DOI --marked-by "B. Name" [--species mouse]

Without ANNOTATIONS, the picture has no follicle. Writes PICTURE's name with the ending .truth.json beside the
picture. docs/contribute-data.md says how to annotate.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

from follicle_stager.annotations import in_words
from follicle_stager.errors import UserError
from follicle_stager.evaluation.marks import ENDING, MarkedPicture, marks_from_annotations, write_marked
from follicle_stager.slides import open_slide, slide_name


def main() -> None:
    """Read, check, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("annotations", type=Path, nargs="?", help="GeoJSON of QuPath, or ROIs of ImageJ")
    parser.add_argument("--mpp", type=float, help="µm per pixel (default: what the picture says)")
    parser.add_argument("--species", default="mouse")
    for name in ("licence", "creator", "source", "marked-by"):
        parser.add_argument(f"--{name}", required=True)
    given = parser.parse_args()
    try:
        with open_slide(given.picture, mpp=given.mpp) as slide:
            mpp, width, height = slide.pixel_size.mpp, slide.width, slide.height
        marks, left_out = MarkedPicture(must_find=()), Counter[str]()
        if given.annotations is not None:
            marks, left_out = marks_from_annotations(given.annotations)
        outside = [m for m in (*marks.must_find, *marks.may_find) if not (0 <= m.x <= width and 0 <= m.y <= height)]
        if outside:
            raise UserError(
                f"{given.annotations}: {len(outside)} marks are outside the picture ({width} x {height} px), the first "
                f"at x {outside[0].x:.0f}, y {outside[0].y:.0f} px. Export the annotations of this picture."
            )
        origin = {name: getattr(given, name) for name in ("species", "licence", "creator", "source", "marked_by")}
        path = given.picture.with_name(slide_name(given.picture) + ENDING)
        write_marked(path, marks.model_copy(update={"mpp": mpp, **origin}))
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    if left_out:
        print(f"not used as marks: {in_words(left_out)}")
    print(
        f"wrote {path}: {len(marks.must_find)} marks, {len(marks.may_find)} unsure, {len(marks.corpora_lutea)} corpora "
        f"lutea, {len(marks.ignore_boxes)} ignored areas"
    )


if __name__ == "__main__":
    main()
