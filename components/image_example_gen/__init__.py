"""ImageExampleGen: reads images, writes tf.Examples and a list of the images that it refused."""
