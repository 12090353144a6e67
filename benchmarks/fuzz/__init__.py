"""Fuzzing of everything that reads what users and data give."""
