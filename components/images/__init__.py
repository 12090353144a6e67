"""The reader of images for ingestion, prediction and serving."""
