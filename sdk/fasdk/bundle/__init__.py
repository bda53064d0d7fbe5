"""Bundle files: archive, manifest, signature and golden captures."""
