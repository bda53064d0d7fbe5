"""Graph comparison and endurance runs."""
