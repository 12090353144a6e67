"""The study: many arms by many seeds on the same images, in one pipeline."""
