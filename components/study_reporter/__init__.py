"""Compares the arms of a study: figures, paired comparisons, and the answer in words."""
