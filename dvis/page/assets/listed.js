"use strict";

// One unit of a list: its best samples, its numbers over training, what is most like it.
(function (dvis) {
  const { element, words, shapes, unitParts } = dvis;
  const REST_MS = 120;

  async function readUnit(head, unit) {
    const place = head.units.indexOf(unit);
    if (place < 0) {
      const n = head.units.length;
      throw new Error(`There is no ${head.noun} ${JSON.stringify(unit)} in ${head.name} of ${head.layer}. There are ${words.counted(n, head.noun)}${n ? `, ${head.units[0]} to ${head.units[n - 1]}` : ""}`);
    }
    const { units } = await dvis.source.read(`listed/${head.number}/${Math.floor(place / head.blocks.units)}`);
    const found = units[place % head.blocks.units];
    const labels = head.checkpoints.map((each) => each.label);
    return { ...found, place, parts: found.parts.map((part) => ({ ...part, checkpoints: part.checkpoints || labels })) };
  }

  /** Units most like this one at the slider's checkpoint, once it rests. */
  function neighbours(context, place) {
    const { page, head } = context;
    const list = element("ul", { class: "near" });
    let timer = 0;
    let turn = 0;
    async function draw(index) {
      turn += 1;
      const mine = turn;
      const { near, best } = head.blocks;
      const found = await dvis.lists.at(head, "near", index, Math.floor(place / near)).catch(() => null);
      if (mine !== turn) return;
      const others = (found && found.units[place % near]) || [];
      const items = others.map((other, rank) => {
        const frames = Array.from({ length: head.sheets ? 3 : 0 }, () => element("span", { class: "frame" }, element("canvas", { class: "thumb", width: 1, height: 1, "aria-hidden": "true" })));
        const at = head.units.indexOf(other);
        const note = head.notes[other];
        const likeness = words.number(found.likeness[place % near][rank], 2);
        if (head.sheets) paint(frames, index, at, best);
        return element("li", {}, element("a", { class: "near-link", "data-unit": other, href: page.href({ view: "listed", layer: head.layer, name: head.name, unit: other }), title: [`${head.noun} ${other}, cosine ${likeness}`, note].filter(Boolean).join("\n") },
          element("span", { class: "unit-name" }, other), element("span", { class: "best" }, frames), element("span", { class: "list-note" }, note || ""), element("span", { class: "cell-number" }, likeness)));
      });
      dvis.replace(list, items.length ? items : element("li", { class: "quiet" }, `${words.UNKNOWN}.`));
      list.dataset.shown = index;
      page.relink();
    }
    async function paint(frames, index, at, block) {
      const found = await dvis.lists.at(head, "best", index, Math.floor(at / block)).catch(() => null);
      const cells = (found && found.cells[at % block]) || [];
      frames.forEach((frame, rank) => {
        const sample = found && found.samples[cells[rank]];
        frame.hidden = !sample;
        if (sample) dvis.samples.draw(frame.firstChild, head.sheets, sample.at);
      });
    }
    return {
      element: list,
      moveTo(index) {
        window.clearTimeout(timer);
        timer = window.setTimeout(() => draw(index), REST_MS);
      },
      close() { window.clearTimeout(timer); turn += 1; },
    };
  }

  function beside(context, place) {
    const { page, head } = context;
    const href = (unit) => page.href({ view: "listed", layer: head.layer, name: head.name, unit });
    const link = (at, text, label) => {
      const unit = head.units[at];
      if (unit === undefined) return element("span", { class: "icon off", "aria-hidden": "true" }, text);
      return element("a", { class: "icon", href: href(unit), "aria-label": `${label} ${unit}`, title: `${label} ${unit}` }, text);
    };
    const noun = words.capital(head.noun);
    return {
      elements: [link(place - 1, "‹", noun), link(place + 1, "›", noun)],
      sibling(by) { if (head.units[place + by] !== undefined) page.go(href(head.units[place + by])); },
    };
  }

  /** Curves over one axis, as one card. */
  function curves(parts, context, onPick) {
    const plots = parts.filter((part) => part.shape === "curves").map((part) => shapes.plotted(part, context.checkpoints)).filter((plot) => plot.series.length);
    if (!plots.length) return { element: null, moveTo() {} };
    const drawn = shapes.panels(plots, context, onPick);
    return {
      element: element("section", { class: "card", "aria-label": "Over training" }, element("div", { class: "card-head" }, element("h2", {}, "Over training"), context.axisChoice()), drawn.element),
      moveTo: drawn.moveTo,
    };
  }

  async function listedView(context) {
    const { page, head, checkpoints } = context;
    const { unit } = context.place;
    const found = await readUnit(head, unit);
    const go = (index) => { bar.go(index); };
    const { isWide } = dvis.shapes;
    const wide = shapes.cards(found.parts.filter(isWide), context, go);
    const line = curves(found.parts, context, go);
    const others = shapes.cards(found.parts.filter((part) => !isWide(part) && part.shape !== "curves"), context, go);
    const near = neighbours(context, found.place);
    const side = beside(context, found.place);
    const followers = [wide, line, others, near];

    function show(index) {
      context.checkpoint = index;
      page.remember(checkpoints, index);
      followers.forEach((part) => part.moveTo(index));
      page.relink();
    }

    const bar = dvis.checkpointBar({ checkpoints, index: context.checkpoint, onChange: show, metrics: shapes.besideSlider(found.parts, checkpoints) });
    const pictured = head.pictured.units.includes(unit) ? element("p", {}, element("a", { class: "action", href: page.href({ view: "unit", layer: head.layer, channel: unit }, { variant: page.variantInAddress(head.run, head.pictured.variant) }) }, `${words.capital(context.overview.nouns.picture)}s of this ${head.noun}`)) : null;
    const root = element("div", { class: "unit-view listed-view" },
      element("div", { class: "title-row" },
        element("h1", {}, element("span", { class: "dim" }, `${head.layer} · ${head.name}`), ` ${head.noun} `, String(unit)), element("span", { class: "beside" }, side.elements), pictured),
      unitParts.note({ note: head.notes[unit] || "" }, `list/${head.number}/${unit}`),
      head.remarks.map((remark) => element("p", { class: "note" }, remark)),
      bar.element,
      wide.elements.length ? element("div", { class: "unit-wide" }, wide.elements) : null,
      element("div", { class: "listed-main" },
        element("div", { class: "listed-column" }, line.element,
          element("section", { class: "card" }, element("h2", {}, "In Python"), unitParts.pythonLine(found.select))),
        element("div", { class: "listed-column" }, others.elements,
          element("section", { class: "card" }, element("h2", {}, "Nearest"), element("p", { class: "quiet" }, "By the cosine of their directions at the slider's checkpoint."), near.element))));
    return {
      element: root, title: `${head.layer} ${head.name} ${unit}`, bar, sibling: side.sibling,
      ready: async () => show(context.checkpoint),
      close() { bar.pause(); near.close(); },
    };
  }

  dvis.views = dvis.views || {};
  dvis.views.listed = listedView;
})((window.dvis = window.dvis || {}));
