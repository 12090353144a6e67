"""Finds the champion, the model that is serving, in the registry."""
