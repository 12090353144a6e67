"""Injects faults into whole runs: `python -m benchmarks.faults`."""
