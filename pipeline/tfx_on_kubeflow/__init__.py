"""Any TFX pipeline on open-source Kubeflow Pipelines 2; imports nothing else of this project."""
