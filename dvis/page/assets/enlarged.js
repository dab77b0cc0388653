"use strict";

// A unit's images in full: each of its variants side by side, or one alone, at the slider's
// checkpoint. Pixels are those that are stored, not smoothed.
(function (dvis) {
  const { element, button, words, pictures } = dvis;
  const MAX_VARIANTS = 12;

  /** The same unit in the other variants of its run that have it. */
  async function otherVariants(context, channel) {
    const run = context.overview.runs.find((each) => each.name === context.variant.run);
    const others = run.variants.filter((each) => each.name !== context.variant.variant).slice(0, MAX_VARIANTS - 1);
    const found = await Promise.all(others.map(async ({ name }) => {
      try {
        const own = await context.page.variantContext(run.name, name);
        const summary = own.variant.layers.find((layer) => layer.name === context.summary.name);
        if (!summary) return null;
        const { channels } = await dvis.source.read(`layer/${own.variantIndex}/${summary.index}`);
        if (!channels.includes(channel)) return null;
        return { name, checkpoints: own.checkpoints, read: await dvis.unit.readUnit(own.variantIndex, summary, channel) };
      } catch {
        return null; // a variant that cannot be read is no reason to show none
      }
    }));
    return found.filter(Boolean);
  }

  /** One variant's image: what the strip has at once, then what is stored. */
  function figureOf(side, onPick) {
    const canvas = element("canvas", { class: "enlarged-canvas", width: 1, height: 1, role: "img" });
    const caption = element("span", { class: "enlarged-caption" });
    const made = button("", onPick, { class: "enlarged-figure", "data-variant": side.name });
    made.append(canvas, caption);
    let turn = 0;
    async function moveTo(label, moment) {
      turn += 1;
      const mine = turn;
      const { unit, strip } = side.read;
      const index = side.checkpoints.findIndex((c) => c.label === label);
      const has = index >= 0 && unit.has_image[index];
      const state = index < 0 ? "absent" : words.STATUS[Number(unit.status[index])];
      const said = state === "complete" ? `activation ${words.number(unit.activation[index])}` : state;
      caption.textContent = `${side.name} · ${said}`;
      canvas.setAttribute("aria-label", `${side.name} at ${moment}, ${said}`);
      canvas.hidden = !has;
      if (!has) return;
      if (strip) pictures.drawCell(canvas, strip, index, unit.strip.columns, { width: unit.strip.cell_width, height: unit.strip.cell_height });
      const address = side.read.imageAddress(index);
      if (!address) return;
      const image = await pictures.load(address).catch(() => null);
      if (!image || mine !== turn) return;
      canvas.width = image.naturalWidth;
      canvas.height = image.naturalHeight;
      canvas.getContext("2d").drawImage(image, 0, 0);
      canvas.dataset.full = index;
    }
    /** What is said of it where it has no image, "" where it has one. */
    function lack(label) {
      const index = side.checkpoints.findIndex((c) => c.label === label);
      if (index >= 0 && side.read.unit.has_image[index]) return "";
      return `${side.name}: ${index < 0 ? "absent" : words.STATUS[Number(side.read.unit.status[index])]}`;
    }
    return { element: made, moveTo, lack };
  }

  /** A dialog of a unit's images; `bar` is the view's slider, which keys move. */
  function enlarged(context, { channel, read, bar }) {
    const { checkpoints, summary } = context;
    const title = element("h2", { id: "enlarged-title" });
    const images = element("div", { class: "enlarged-images" });
    const lacking = element("p", { class: "quiet", hidden: true });
    const dialog = element("dialog", { class: "enlarged", "aria-labelledby": "enlarged-title", on: { keydown: onKey, close: onClose, click: (event) => { if (event.target === dialog) dialog.close(); } } },
      element("div", { class: "enlarged-head" }, title, element("span", { class: "enlarged-steps" },
        button("‹", () => bar().step(-1), { class: "icon", "aria-label": "Checkpoint before" }),
        button("›", () => bar().step(1), { class: "icon", "aria-label": "Next checkpoint" })),
      button("×", () => dialog.close(), { class: "icon", "aria-label": "Close" })), images, lacking,
      element("p", { class: "quiet enlarged-keys" }));
    let figures = [];
    let alone = -1;
    let opener = null;

    function add(sides) {
      for (const side of sides) {
        const place = figures.length;
        const figure = figureOf(side, () => pick(alone === place ? -1 : place));
        figures.push(figure);
        images.append(figure.element);
      }
      const several = figures.length > 1 ? "; ↑ ↓ one image alone, Enter all of them" : "";
      dialog.querySelector(".enlarged-keys").textContent = `← → checkpoints${several}; Esc closes`;
    }

    /** Those without an image here leave their room to the others, and are named below. */
    function arrange() {
      const { label } = checkpoints[bar().index];
      const lacks = figures.map((figure) => figure.lack(label));
      figures.forEach((figure, i) => {
        figure.element.hidden = alone >= 0 ? i !== alone : Boolean(lacks[i]) && !lacks.every(Boolean);
      });
      lacking.textContent = lacks.filter(Boolean).length < lacks.length && alone < 0 ? lacks.filter(Boolean).join("; ") : "";
      lacking.hidden = !lacking.textContent;
    }

    function pick(place) {
      alone = figures.length > 1 ? place : -1;
      arrange();
      if (alone >= 0) figures[alone].element.focus();
    }

    function moveTo(index) {
      if (!dialog.open) return;
      const moment = words.moment(checkpoints[index]);
      title.textContent = `${summary.name} ${context.variant.unit} ${channel} at ${moment}`;
      dialog.dataset.checkpoint = index;
      arrange();
      figures.forEach((figure) => figure.moveTo(checkpoints[index].label, moment));
    }

    function onKey(event) {
      const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
      if (!by || figures.length < 2) return;
      event.preventDefault();
      pick(alone < 0 ? (by > 0 ? 0 : figures.length - 1) : (alone + by + figures.length) % figures.length);
    }

    function onClose() {
      context.page.update({ enlarged: null });
      dialog.remove();
      if (opener && opener.isConnected) opener.focus({ preventScroll: true });
    }

    async function open(from) {
      opener = from;
      if (!figures.length) add([{ name: context.variant.variant, checkpoints, read }]);
      document.body.append(dialog);
      dialog.showModal();
      context.page.update({ enlarged: "1" });
      pick(-1);
      moveTo(bar().index);
      if (figures.length > 1) return;
      add(await otherVariants(context, channel));
      pick(-1);
      moveTo(bar().index);
    }

    return { open, moveTo, close: () => { if (dialog.open) dialog.close(); } };
  }

  dvis.enlarged = enlarged;
})((window.dvis = window.dvis || {}));
