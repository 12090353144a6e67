"""Calibrator: calibrates a model, chooses its operating point and exports it with both."""
