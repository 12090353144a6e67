"""Trainer: trains on the train and val splits, writes a SavedModel and the training history."""
