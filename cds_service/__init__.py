"""A CDS Hooks service for recurrent leg cramps: how it runs. When it speaks is in `logic/`, what it says in `cards/`."""

__version__ = "0.1.0"
