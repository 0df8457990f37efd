"""The services. Each has its own database and the same files: the file's name is the layer."""
