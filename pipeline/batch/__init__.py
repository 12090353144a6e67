"""`outnumbered predict --output`: scores any number of images with Beam, and can be resumed."""
