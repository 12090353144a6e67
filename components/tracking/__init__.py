"""Registers pushed versions with MLflow and Kubeflow's Model Registry, if the settings say so."""
