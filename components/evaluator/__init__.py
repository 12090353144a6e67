"""Judges the calibrated model on the test split: predictions, sliced metrics and a blessing."""
