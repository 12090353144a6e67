"""The road to Kubeflow Pipelines: compile, submit, schedule, and what a step's pod runs."""
