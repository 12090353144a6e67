"""The TFX components of outnumbered, one folder each."""
