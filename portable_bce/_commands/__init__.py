"""The instruments that a user gets with the library: demo, verify and source."""
