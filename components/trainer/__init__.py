"""Trainer: from the train and val splits to a SavedModel and the history of its training."""
