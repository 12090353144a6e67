"""Says what a run came to: one HTML page for a person, one JSON file for a program."""
