"""A page to browse a store: served live from it, or written as a folder that opens by itself."""
