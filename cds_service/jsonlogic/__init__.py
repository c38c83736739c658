"""The rule language: three-valued JSON Logic, compiled once and checked for types. It knows no fact by name."""
