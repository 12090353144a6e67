"""Draws train, val and test from the images, each at the size and balance asked for."""
