"""Liveness session: one bundle, one engine, and the rules that turn captures into decisions."""
