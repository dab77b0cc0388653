"""The pictures of feature images: blocks of them on disk, their codec, the read layout."""
