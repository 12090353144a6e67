"""`outnumbered retrain`: the next run of a model that is retrained as its data grows."""
