"""Copies a blessed model into the registry, atomically."""
