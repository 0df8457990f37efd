"""What `make gen` runs beside protoc."""
