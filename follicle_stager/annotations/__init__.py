"""Outlines in and out of other programs."""

from follicle_stager.annotations.geojson import read_geojson, read_sections, write_geojson, write_sections

__all__ = ["read_geojson", "read_sections", "write_geojson", "write_sections"]
