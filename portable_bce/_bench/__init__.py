"""Time beside what others call."""
