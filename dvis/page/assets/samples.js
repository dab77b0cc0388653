"use strict";

// Samples of an image set: thumbnails with a map over them and what is to be said below, and rows of
// them over checkpoints.
(function (dvis) {
  const { element, words, pictures } = dvis;
  const WARM = [255, 106, 0]; // of maps
  const STRONGEST = 200; // of 255: the picture is seen below
  const MANY = 36; // checkpoints: more are scrolled
  const N_SMALL = 8; // of a row, where all checkpoints are shown

  /** Draw a sample's thumbnail once its sheet is there. */
  async function draw(canvas, sheets, at) {
    if (!sheets || at === null || at === undefined) return;
    const name = `samples/${sheets.number}/${Math.floor(at / sheets.block)}`;
    canvas.dataset.at = at;
    const sprite = await pictures.load(dvis.source.picture(name, sheets.version, sheets.suffix)).catch(() => null);
    if (!sprite || canvas.dataset.at !== String(at)) return;
    pictures.drawCell(canvas, sprite, at % sheets.block, sheets.columns, { width: sheets.cell_width, height: sheets.cell_height });
    canvas.dataset.drawn = at;
  }

  /** A map as a warm veil, as strong as its numbers. */
  function veil({ height, width }, text) {
    const canvas = element("canvas", { class: "veil", width, height, "aria-hidden": "true" });
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(width, height);
    const levels = atob(text);
    for (let i = 0; i < levels.length; i += 1) {
      pixels.data.set([...WARM, (levels.charCodeAt(i) / 255) * STRONGEST], 4 * i);
    }
    context.putImageData(pixels, 0, 0);
    return canvas;
  }

  function sample(part, row, rank, { isSmall }) {
    const cell = part.cells[row][rank];
    if (cell === null || cell === undefined) return null;
    const { id, label, at } = part.samples[cell];
    const value = part.values[row][rank];
    const canvas = element("canvas", { class: "thumb", width: 1, height: 1, "aria-hidden": "true" });
    const said = [label, words.number(value), id].filter(Boolean);
    const picture = part.sheets ? element("span", { class: "frame" }, canvas, part.map ? veil(part.map, part.maps[row][rank]) : null) : null;
    draw(canvas, part.sheets, at);
    return element("li", { class: "sample", title: said.join("\n"), "aria-label": said.join(", "), "data-sample": id }, picture,
      isSmall && picture ? null : element("span", { class: "sample-caption" },
        element("span", { class: "sample-label" }, label || id), element("span", { class: "sample-value" }, words.number(value, 3)),
        label && !isSmall ? element("span", { class: "sample-id" }, id) : null));
  }

  function samplesOf(part, row, options) {
    const n = options.isSmall ? N_SMALL : Infinity;
    const found = row === undefined ? [] : part.cells[row].slice(0, n).map((_, rank) => sample(part, row, rank, options)).filter(Boolean);
    return found.length ? found : element("li", { class: "quiet" }, `${part.empty[row] || words.UNKNOWN}.`);
  }

  /** A row for each checkpoint, drawn once it is in sight. */
  function overTraining(part, { checkpoints }, places, onPick) {
    const rows = new Map();
    const observer = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        if (!isIntersecting) continue;
        observer.unobserve(target);
        const row = places.get(checkpoints[Number(target.dataset.checkpoint)].label);
        dvis.replace(target.lastElementChild, samplesOf(part, row, { isSmall: true }));
      }
    });
    const list = element("ol", { class: `sample-rows${checkpoints.length > MANY ? " many" : ""}` }, checkpoints.map((checkpoint, index) => {
      if (!places.has(checkpoint.label)) return null;
      const row = element("li", { class: "sample-row", "data-checkpoint": index },
        element("button", { type: "button", class: "plain moment", title: words.when(checkpoint) || checkpoint.label, on: { click: () => onPick(index) } }, words.tick(checkpoint)),
        element("ol", { class: `samples small${part.sheets ? "" : " unpictured"}` }));
      rows.set(index, row);
      observer.observe(row);
      return row;
    }));
    return {
      element: element("details", { class: "over-training", open: true }, element("summary", {}, "Over training"), list),
      moveTo(index) { for (const [each, row] of rows) row.classList.toggle("current", each === index); },
    };
  }

  /** The shape of pictures: the best at the slider's checkpoint, and below it those of all. */
  function rows(part, context, onPick, card) {
    const places = new Map(part.checkpoints.map((label, i) => [label, i]));
    const now = element("ol", { class: "samples" });
    const isTiny = part.sheets && part.sheets.cell_width < 48;
    const all = context.checkpoints.length > 1 ? overTraining(part, context, places, onPick) : null;
    const box = element("input", { type: "checkbox", on: { change: () => content.classList.toggle("bare", !box.checked) } });
    box.checked = true;
    const toggle = part.map && part.sheets ? element("label", { class: "tickbox maps" }, box, "where in the image") : null;
    const content = element("div", { class: `sample-part${isTiny ? " tiny-images" : ""}` }, toggle, now, all && all.element);
    let shown = -1;
    function moveTo(index) {
      if (index === shown) return;
      shown = index;
      dvis.replace(now, samplesOf(part, places.get(context.checkpoints[index].label), { isSmall: false }));
      now.dataset.shown = index;
      if (all) all.moveTo(index);
    }
    moveTo(context.checkpoint);
    return { element: card(part, part.note, content), moveTo };
  }

  dvis.samples = { draw, rows };
})((window.dvis = window.dvis || {}));
