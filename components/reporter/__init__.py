"""Reports the results of a run: an HTML page for people and a JSON file for programs."""
