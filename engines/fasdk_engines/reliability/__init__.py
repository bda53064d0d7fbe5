"""Reliability of a sensor: how typical its picture is of the captures a bundle is built on."""
