"""TFX's StatisticsGen, which checks the files that it reads and lists those that it writes."""
