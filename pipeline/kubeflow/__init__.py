"""Kubeflow Pipelines: compile, submit, schedule, and what the pod of a step runs."""
