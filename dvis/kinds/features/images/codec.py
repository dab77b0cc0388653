"""Where installations of an earlier dvis look for its codec, until they are renewed."""

from dvis.store.picture_codec import JpegCodec

__all__ = ["JpegCodec"]
