"""The study: several arms with several seeds on the same images, in one pipeline."""
