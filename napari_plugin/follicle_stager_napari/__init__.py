"""The napari part of follicle-stager: slides with their scale, and follicles in their stage's colour."""
