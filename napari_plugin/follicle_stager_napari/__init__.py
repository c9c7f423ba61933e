"""The napari plugin of follicle-stager: slides with their pixel size, and follicles in the colour of their stage."""
