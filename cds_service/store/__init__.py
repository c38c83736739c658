"""The database: tables, migrations and the one connection to them."""
