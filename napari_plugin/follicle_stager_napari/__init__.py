"""The napari plugin of follicle-stager: slides with their scale, and follicles in the colour of their stage."""
