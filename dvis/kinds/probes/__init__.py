"""Linear probes: what can be read off layers, and from when on."""
