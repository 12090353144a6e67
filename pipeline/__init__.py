"""The settings, the DAG, the local runner and the command line."""
