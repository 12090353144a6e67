"""Kubeflow Pipelines: compiling, submitting, scheduling, and the entrypoint of a step's pod."""
