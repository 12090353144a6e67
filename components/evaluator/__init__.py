"""Evaluates the calibrated model on the test split: predictions, sliced metrics, a blessing."""
