"use strict";

// All channels of a layer at a checkpoint: thumbnails that a slider moves, sorted and filtered.
(function (dvis) {
  const { element, button, words, filters, pictures } = dvis;
  const SIZES = { small: 64, medium: 96, large: 144 };
  const CAPTION = 20;
  const MANY = 40; // channels: fewer are shown large
  const AHEAD = 12; // checkpoints that are loaded for later; after a jump on both sides
  const BEHIND = 3;
  const MAX_BLOCKS = 4;
  const MAX_AWAITED = 24; // sprites: more would push those in sight out of what is kept
  const REST_MS = 60; // after a jump, so that a drag finds the server free

  /** The layer's document, and what is worked out of it once. */
  function tableOf(layer, checkpoints) {
    // On a page of some of the checkpoints a birth may lie between two of them.
    const bornAt = layer.birth.position.map((position, i) => {
      const step = layer.birth.step[i];
      if (position !== null || step === null) return position;
      const after = checkpoints.findIndex((c) => c.step !== null && c.step >= step);
      return after < 0 ? null : after;
    });
    const hasSteps = layer.birth.state.every((state, i) => state !== "born" || layer.birth.step[i] !== null);
    return {
      ...layer,
      bornAt,
      hasSteps,
      birthPlaces: layer.birth.state.map((state, i) => {
        if (state !== "born") return null;
        return hasSteps ? layer.birth.step[i] : bornAt[i] + 1;
      }),
      drift: null,
    };
  }

  /** Draws thumbnails; a new checkpoint only when all in sight are decoded. */
  function painter({ variant, layer, document_, cells }) {
    let wanted = -1;
    let shown = -1;
    let running = null;
    let direction = 0; // from the checkpoint before to the one that is shown
    let ahead = null; // the sprite that is loaded for later
    let turn = 0;
    let timer = 0;

    const address = (checkpoint, block) => pictures.thumbsAddress(variant, layer, document_, checkpoint, block);
    const blocks = (positions) => [...new Set(positions.map((p) => Math.floor(p / pictures.BLOCK)))];

    function paint(cell, position) {
      const block = Math.floor(position / pictures.BLOCK);
      const sprite = pictures.ready(address(shown, block));
      cell.classList.toggle("waiting", !sprite);
      cell.dataset.drawn = sprite ? shown : "";
      if (!sprite) return;
      pictures.drawCell(cell.canvas, sprite, position % pictures.BLOCK, 8, pictures.cellSize(sprite, document_, block));
    }

    /** Sprites that the next steps need, the nearest first; further ahead of a slider that goes one way. */
    function awaited() {
      const sign = direction < 0 ? -1 : 1;
      const behind = Math.abs(direction) === 1 ? BEHIND : AHEAD;
      const steps = [];
      for (let by = 1; by <= AHEAD; by += 1) {
        steps.push(sign * by);
        if (by <= behind) steps.push(-sign * by);
      }
      const near = blocks(cells.inSight()).slice(0, MAX_BLOCKS);
      return steps.map((by) => shown + by)
        .filter((checkpoint) => checkpoint >= 0 && checkpoint < document_.versions.length)
        .flatMap((checkpoint) => near.map((block) => address(checkpoint, block)))
        .slice(0, MAX_AWAITED);
    }

    /** One after the other: what the slider asks for next waits for one of them at most. */
    async function prefetch() {
      const mine = turn;
      for (const sprite of awaited()) {
        if (pictures.ready(sprite)) continue;
        ahead = sprite;
        await pictures.load(sprite).catch(() => null);
        if (mine !== turn) return;
      }
    }

    /** What was loaded for later makes way for what is wanted now. */
    function giveWay() {
      turn += 1;
      window.clearTimeout(timer);
      const needed = blocks(cells.inSight()).map((block) => address(wanted, block));
      if (ahead && !needed.includes(ahead)) pictures.cancel(ahead);
      ahead = null;
    }

    async function run(onShown) {
      while (shown !== wanted) {
        const target = wanted;
        await Promise.allSettled(blocks(cells.inSight()).map((block) => pictures.load(address(target, block))));
        direction = shown < 0 ? 0 : target - shown;
        shown = target;
        onShown(target);
      }
      timer = window.setTimeout(prefetch, Math.abs(direction) > 1 ? REST_MS : 0);
    }

    return {
      get shown() { return shown; },
      paint,
      /** Show a checkpoint; of many asked for at once only the last is shown. */
      show(checkpoint, onShown) {
        wanted = checkpoint;
        giveWay();
        if (!running) running = run(onShown).finally(() => { running = null; });
        return running;
      },
      close: giveWay,
      /** Bring what has come in sight. */
      bring(positions) {
        if (shown < 0) return;
        for (const block of blocks(positions)) {
          if (pictures.ready(address(shown, block))) continue;
          const checkpoint = shown;
          pictures.load(address(checkpoint, block)).then(
            () => checkpoint === shown && cells.each((cell, p) => Math.floor(p / pictures.BLOCK) === block && paint(cell, p)),
            () => cells.each((cell, p) => Math.floor(p / pictures.BLOCK) === block && cell.classList.add("lost"))
          );
        }
      },
    };
  }

  function makeCell() {
    const cell = element("a", { class: "cell", role: "listitem" });
    cell.canvas = element("canvas", { class: "thumb", width: 1, height: 1, "aria-hidden": "true" });
    cell.state = element("span", { class: "state" });
    cell.channelName = element("span", { class: "cell-name" });
    cell.classText = element("span", { class: "cell-class" });
    cell.amount = element("span", { class: "cell-number" });
    cell.level = element("i", { class: "level", "aria-hidden": "true" });
    cell.note = element("span", { class: "cell-note", "aria-hidden": "true" });
    cell.append(element("span", { class: "frame" }, cell.canvas, cell.state, cell.note, cell.level), element("span", { class: "caption" }, cell.channelName, cell.classText, cell.amount));
    return cell;
  }

  function labelCell(cell, table, position, checkpoint, most, noun) {
    const status = words.STATUS[Number(table.status[checkpoint][position])];
    const value = table.activation[checkpoint][position];
    const born = table.bornAt[position];
    cell.classList.remove(...words.STATUS, "lost");
    cell.classList.add(status);
    cell.classList.toggle("born", born !== null && born <= checkpoint);
    cell.state.textContent = status === "complete" ? "" : status;
    cell.channelName.textContent = table.channels[position];
    cell.amount.textContent = status === "complete" ? words.number(value, 3) : "";
    cell.level.style.width = `${Math.max(0, Math.min(1, (value || 0) / most)) * 100}%`;
    const birth = words.birth({ state: table.birth.state[position], step: table.birth.step[position], label: table.birth.label[position] });
    const ofClass = words.classOf(table, position);
    cell.classText.textContent = ofClass && table.classes.names[position];
    const parts = [`${noun} ${table.channels[position]}`, ...(ofClass ? [ofClass] : []), status === "complete" ? `activation ${words.number(value)}` : status, birth];
    const note = table.unit_notes[position];
    cell.note.textContent = note;
    if (note) parts.push(note);
    cell.setAttribute("aria-label", parts.join(", "));
    cell.title = parts.join("\n");
  }

  function counts(values) {
    const numbers = {};
    for (const value of values) numbers[value] = (numbers[value] || 0) + 1;
    return numbers;
  }

  function legend() {
    return element("ul", { class: "status-legend", "aria-label": "Legend" },
      words.STATUS.slice().sort((a, b) => (a === "complete" ? -1 : b === "complete" ? 1 : 0)).map((status) =>
        element("li", {}, element("span", { class: `state-key ${status}`, "aria-hidden": "true" }), status)),
      element("li", {}, element("span", { class: "state-key born-key", "aria-hidden": "true" }), "born by now"));
  }

  async function layerView(context) {
    const { page, variant, variantIndex, summary, checkpoints } = context;
    const document_ = await dvis.source.read(`layer/${variantIndex}/${summary.index}`);
    const table = tableOf(document_, checkpoints);
    const noun = variant.unit;
    const query = context.place.query;
    const conditions = filters.parse(query.get("filter"));
    const order = { sort: query.get("sort") || "channel", isDescending: query.get("order") === "desc", search: query.get("search") || "" };
    if (!filters.SORTS.some(([name]) => name === order.sort)) order.sort = "channel";
    const usualSize = table.channels.length > MANY ? "medium" : "large";
    const sizeName = SIZES[query.get("size")] ? query.get("size") : usualSize;
    const most = Math.max(1e-12, ...table.activation.flat().filter((v) => v !== null));
    let checkpoint = context.checkpoint;
    let listed = [];

    const tally = element("p", { class: "tally", role: "status" });
    const width = SIZES[sizeName];
    const cells = dvis.grid({
      make: makeCell, width, height: width + CAPTION, label: `${words.capital(noun)}s of ${summary.name}`,
      bind(cell, position) {
        labelCell(cell, table, position, Math.max(paint.shown, 0) === paint.shown ? paint.shown : checkpoint, most, noun);
        cell.href = page.href({ view: "unit", layer: summary.name, channel: table.channels[position] });
        cell.dataset.channel = table.channels[position];
        if (paint.shown >= 0) paint.paint(cell, position);
      },
      onSight: (positions) => paint.bring(positions),
    });
    cells.element.classList.toggle("tiny-images", context.image.width < 48);
    const paint = painter({ variant: variantIndex, layer: summary.index, document_, cells });

    function list() {
      listed = filters.passing(table, conditions, { checkpoint, ...order });
      tally.textContent = `${words.count(listed.length)} of ${words.counted(table.channels.length, noun)}`;
      cells.element.dataset.count = listed.length;
      cells.show(listed);
      empty.hidden = listed.length > 0;
      emptyText.textContent = `${words.unfound(noun, order.search, among)} `;
    }

    function describe() {
      facets.status.count(counts(table.status[checkpoint]));
      facets.state.count(counts(table.birth.state));
      for (const [name, control] of Object.entries(ranges)) control.draw(filters.column(table, name, checkpoint));
      trend.moveTo(checkpoint);
    }

    const dependsOnCheckpoint = () => order.sort === "activation" || conditions.status || "activation" in conditions.ranges;

    function showCheckpoint(to) {
      checkpoint = to;
      page.remember(checkpoints, to);
      describe();
      return paint.show(to, (now) => {
        if (dependsOnCheckpoint()) list();
        cells.each((cell, position) => {
          labelCell(cell, table, position, now, most, noun);
          paint.paint(cell, position);
        });
        cells.element.dataset.shown = now;
      });
    }

    function refilter() {
      page.update({
        filter: filters.text(conditions) || null,
        sort: order.sort === "channel" ? null : order.sort,
        order: order.isDescending ? "desc" : null,
        search: order.search || null,
      });
      withDrift();
      list();
    }

    let asked = false;
    async function withDrift() {
      if (asked || table.drift || !filters.needsDrift(conditions, order.sort)) return;
      asked = true;
      computing.hidden = false;
      try {
        table.drift = await dvis.source.read(`drift/${variantIndex}/${summary.index}`);
        describe();
        list();
      } catch (error) {
        page.tell(`Drift could not be computed: ${error.message}`);
        asked = false;
      } finally {
        computing.hidden = true;
      }
    }

    const facets = {
      status: filters.facet("State of the unit here", ["complete", "incomplete", "failed", "dead", "absent"].map((status) => ({ value: String(words.STATUS.indexOf(status)), label: status, className: status })), conditions.status, (chosen) => { conditions.status = chosen; refilter(); }),
      state: filters.facet(`Birth${words.measure(table.birth)}`, words.BIRTH_STATES.map((state) => ({ value: state, label: { born: "born", never: "never", unstable: "unstable", absent: "too few checkpoints" }[state] })), conditions.state, (chosen) => { conditions.state = chosen; refilter(); }),
    };
    const rangeOf = (name, title, options) => filters.range(title, conditions.ranges[name], (bounds) => {
      if (bounds[0] === null && bounds[1] === null) delete conditions.ranges[name];
      else conditions.ranges[name] = bounds;
      refilter();
    }, options);
    const ranges = {
      activation: rangeOf("activation", "Activation here"),
      birth: rangeOf("birth", table.hasSteps ? "Birth, training step" : "Birth, number of the checkpoint"),
      growth: rangeOf("growth", table.birth.measure === "standardised" ? "Growth, in sd of reference images" : "Growth"),
      drift: rangeOf("drift", "Drift to the last image", { note: "computed when asked for" }),
    };
    const driftButton = button("compute", () => {
      conditions.ranges.drift = conditions.ranges.drift || [null, null];
      withDrift();
      driftButton.hidden = true;
    }, { class: "plain compute", "aria-label": "Compute drift" });
    ranges.drift.element.append(driftButton);
    const among = table.classes ? "number, note or class" : "number or note";
    const emptyText = element("span", {});
    const computing = element("p", { class: "computing", role: "status", hidden: true }, "Computing drift: every image of the layer is read once …");
    const empty = element("p", { class: "empty", hidden: true }, emptyText, button("Clear search and filters", clear, { class: "plain" }));

    function clear() {
      conditions.status = conditions.state = null;
      conditions.ranges = {};
      order.search = search.value = "";
      facets.status.reset();
      facets.state.reset();
      Object.values(ranges).forEach((control) => control.set([null, null]));
      refilter();
    }

    const search = element("input", { type: "search", class: "search", placeholder: table.classes ? "12, a note, a class" : "12, 10-20, a note", "aria-label": `Search ${noun}s: a number, a list, a range, or words of a note${table.classes ? " or a class" : ""}`, value: order.search, on: { input: () => { order.search = search.value; refilter(); } } });
    const descending = button("", () => { order.isDescending = !order.isDescending; describeOrder(); refilter(); }, { class: "icon order" });
    function describeOrder() {
      descending.textContent = order.isDescending ? "↓" : "↑";
      descending.setAttribute("aria-label", order.isDescending ? "Descending; change to ascending" : "Ascending; change to descending");
      descending.title = order.isDescending ? "descending" : "ascending";
    }
    describeOrder();

    const trend = dvis.unitParts.layerTrend(summary, checkpoints, checkpoint, context.axisKind, noun);
    const bar = dvis.checkpointBar({ checkpoints, index: checkpoint, onChange: showCheckpoint, metrics: context.besideSlider });
    const isWide = window.matchMedia("(min-width: 60rem)").matches;
    const side = element("details", { class: "side", open: isWide }, element("summary", {}, "Sort and filter"),
      element("div", { class: "side-body" },
        trend.element,
        element("div", { class: "row" },
          dvis.choice("Sort by", filters.SORTS.map(([name, title]) => [name, name === "channel" ? noun : title]), order.sort, (value) => { order.sort = value; order.isDescending = ["activation", "final", "growth", "drift", "change"].includes(value); describeOrder(); refilter(); }),
          descending),
        element("label", { class: "field" }, element("span", {}, "Search"), search),
        facets.status.element, facets.state.element,
        Object.values(ranges).map((control) => control.element),
        button("Clear all filters", clear, { class: "plain" })));

    const root = element("div", { class: "layer-view" },
      element("div", { class: "layer-head" },
        element("h1", {}, summary.name),
        element("p", { class: "subtitle" }, `${words.counted(summary.n_channels, noun)}, ${context.variant.variant}, run ${context.variant.run}`),
        table.classes ? element("p", { class: "subtitle" }, `Logits of the classes of ${table.classes.set}`) : null,
        dvis.lists.links(context, summary.name)),
      bar.element, side,
      element("section", { class: "gallery", "aria-label": `${words.capital(noun)}s` },
        element("div", { class: "gallery-head" }, tally, legend(), dvis.choice("Size", Object.keys(SIZES).map((name) => [name, name]), sizeName, (value) => { page.update({ size: value === usualSize ? null : value }); page.render(); }, { id: "size" })),
        computing, cells.element, empty));

    return {
      element: root,
      title: summary.name,
      ready() {
        list();
        describe();
        withDrift();
        return showCheckpoint(checkpoint);
      },
      close() { bar.pause(); paint.close(); cells.close(); },
      bar,
      search,
    };
  }

  dvis.views = dvis.views || {};
  dvis.views.layer = layerView;
})((window.dvis = window.dvis || {}));
