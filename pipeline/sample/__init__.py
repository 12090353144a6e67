"""The sample data set: little scenes with a cat or a dog, drawn by code."""
