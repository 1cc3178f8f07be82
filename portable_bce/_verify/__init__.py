"""Measurement of errors."""
