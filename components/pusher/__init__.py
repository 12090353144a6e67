"""Puts a blessed model into the registry, whole or not at all."""
