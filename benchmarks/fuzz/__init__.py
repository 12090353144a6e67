"""Fuzzes everything that reads input from users and data."""
