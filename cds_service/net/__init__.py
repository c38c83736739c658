"""The network: which addresses are public, a resolver that keeps to the one that was checked, bounds of connections."""
