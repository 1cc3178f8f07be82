"""Libraries that conform to the array API standard and have no folder of their own."""
