"""Procedural geometry: problems with diagrams, worked solutions and labelled decisive spans."""

from cepo.geometry.problems import FAMILIES, SPLITS, Split, generate

__all__ = ["FAMILIES", "SPLITS", "Split", "generate"]
