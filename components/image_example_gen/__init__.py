"""ImageExampleGen: photographs in, tf.Examples and an account of what was refused out."""
