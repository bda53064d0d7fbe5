"""Operating points, score calibration and sequential tests chosen on development captures."""
