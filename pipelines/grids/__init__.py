"""Grids: one request painted with several values of some of its settings."""
