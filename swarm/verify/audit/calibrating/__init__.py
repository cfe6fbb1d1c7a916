"""Thresholds of a machine and a model: measured over the variants in which honest peers may compute."""
