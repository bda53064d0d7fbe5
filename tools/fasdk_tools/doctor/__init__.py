"""What a machine lacks for a door: packages, GPU, clock, keys, cameras and the bundle itself."""
