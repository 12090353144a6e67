"""`outnumbered report compare`: two runs side by side, with paired differences."""
