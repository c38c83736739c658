"""Network addresses: which are public, and a resolver that keeps to the address that was checked."""
