"""How a run is put together and started: settings, the DAG, the runner, the command line."""
