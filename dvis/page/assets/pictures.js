"use strict";

// Sprites of many small images, decoded before they are shown so that nothing flickers, and kept
// while they are of use.
(function (dvis) {
  const MAX_KEPT = 40; // of 64 thumbnails, some 90 MB when decoded
  const COLUMNS = 8;
  const BLOCK = 64;
  const kept = new Map();

  /** A decoded image; the same promise for the same address. */
  function load(address) {
    if (kept.has(address)) {
      const entry = kept.get(address);
      kept.delete(address);
      kept.set(address, entry);
      return entry.promise;
    }
    const image = new Image();
    image.src = address;
    const entry = { image: null, request: image, promise: null };
    entry.promise = image.decode().then(
      () => {
        entry.image = image;
        return image;
      },
      () => {
        if (kept.get(address) === entry) kept.delete(address);
        throw new Error(`The picture ${address} did not come`);
      }
    );
    entry.promise.catch(() => {});
    kept.set(address, entry);
    for (const oldest of kept.keys()) {
      if (kept.size <= MAX_KEPT) break;
      kept.delete(oldest);
    }
    return entry.promise;
  }

  /** Give up an image that has not come yet. */
  function cancel(address) {
    const entry = kept.get(address);
    if (!entry || entry.image) return;
    kept.delete(address);
    entry.request.removeAttribute("src");
  }

  /** The image if it is there already, else null. */
  function ready(address) {
    const entry = kept.get(address);
    return entry ? entry.image : null;
  }

  function thumbsAddress(variant, layer, document_, checkpoint, block) {
    const name = `thumbs/${variant}/${layer}/${checkpoint}/${block}`;
    return dvis.source.picture(name, document_.versions[checkpoint], document_.suffix);
  }

  /** Size of a cell of the thumbnails of a block. */
  function cellSize(sprite, document_, block) {
    const n = Math.min(BLOCK, document_.channels.length - block * BLOCK);
    return { width: sprite.naturalWidth / COLUMNS, height: sprite.naturalHeight / Math.ceil(n / COLUMNS) };
  }

  /** Draw cell `position` of a sprite, whose cells are as large as its width tells. */
  function drawCell(canvas, sprite, position, columns = COLUMNS, size = null) {
    const width = size ? size.width : sprite.naturalWidth / columns;
    const height = size ? size.height : width;
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    const x = (position % columns) * width;
    const y = Math.floor(position / columns) * height;
    const context = canvas.getContext("2d");
    context.drawImage(sprite, x, y, width, height, 0, 0, width, height);
  }

  dvis.pictures = { BLOCK, load, cancel, ready, thumbsAddress, cellSize, drawCell };
})((window.dvis = window.dvis || {}));
