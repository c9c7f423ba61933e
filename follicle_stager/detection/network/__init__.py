"""Follicles by a network that learned from virtual ovaries: maps by `model`, follicles from maps by `instances`.

`layout` is what both sides of training and inference agree on.
"""
