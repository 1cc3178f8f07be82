"""Test your own binary cross-entropy: exact values, inputs that break it, errors in ULP."""
