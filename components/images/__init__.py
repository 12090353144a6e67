"""The one reader of images, for ingestion, prediction and serving."""
