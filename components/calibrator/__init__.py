"""Calibrator: chooses the operating point on val and exports a model that applies it."""
