"""The demo command, apart from the library: only `report` and `plot` need its packages."""
