"""`logic/` and `cards/` loaded and checked file by file: formats, terminology, units, local spelling."""
