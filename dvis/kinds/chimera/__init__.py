"""Chimeras: networks whose lower layers are of one checkpoint and whose upper ones of the last."""
