"use strict";

// Two units, of any runs and variants, side by side, with sliders that move together.
(function (dvis) {
  const { element, words, unitParts } = dvis;
  const SIDES = [
    { letter: "A", prefix: "", className: "series-0" },
    { letter: "B", prefix: "other_", className: "series-1" },
  ];

  /** Place of the checkpoint that goes with `index`: of the same label, else step, else number. */
  function counterpart(index, from, to) {
    const same = to.findIndex((c) => c.label === from[index].label);
    if (same >= 0) return same;
    const { step } = from[index];
    if (step !== null && to.every((c) => c.step !== null)) {
      return to.reduce((best, c, i) => (Math.abs(c.step - step) < Math.abs(to[best].step - step) ? i : best), 0);
    }
    return Math.min(index, to.length - 1);
  }

  async function sideOf(context, { prefix }, fallback) {
    const { page, place } = context;
    const query = place.query;
    const run = query.get(`${prefix}run`) || fallback.run;
    const ofRun = context.overview.runs.find((each) => each.name === run);
    const asked = query.get(`${prefix}variant`) || fallback.variant;
    // A variant that the run lacks was chosen for another run: the run's own default instead.
    const hasAsked = ofRun && ofRun.variants.some((each) => each.name === asked);
    const own = await page.variantContext(run, hasAsked ? asked : null);
    const names = own.variant.layers.map((layer) => layer.name);
    const wanted = query.get(`${prefix}layer`) || fallback.layer;
    const summary = own.variant.layers[Math.max(0, names.indexOf(wanted))];
    if (!summary) throw new Error("This variant has no layers yet");
    const layer = await dvis.source.read(`layer/${own.variantIndex}/${summary.index}`);
    if (!layer.channels.length) throw new Error(`No ${own.variant.unit} of ${summary.name} is there yet`);
    const wantedChannel = query.has(`${prefix}channel`) ? Number(query.get(`${prefix}channel`)) : fallback.channel;
    const channel = layer.channels.includes(wantedChannel) ? wantedChannel : layer.channels[0];
    return { ...own, summary, channel, read: await dvis.unit.readUnit(own.variantIndex, summary, channel) };
  }

  function chooser(context, side, { letter, prefix }) {
    const { page, overview } = context;
    const change = (changes) => {
      page.update(Object.fromEntries(Object.entries(changes).map(([name, value]) => [`${prefix}${name}`, value])));
      page.render();
    };
    const ofRun = overview.runs.find((run) => run.name === side.variant.run);
    const id = (name) => ({ id: `${letter}-${name}` });
    const noun = words.capital(side.variant.unit);
    const name = (text) => `${text} of ${letter}`;
    return element("div", { class: "chooser", role: "group", "aria-label": `What ${letter} is` },
      overview.runs.length > 1 ? dvis.choice("Run", overview.runs.map((run) => [run.name, run.name]), side.variant.run, (run) => change({ run, variant: null }), { ...id("run"), "aria-label": name("Run") }) : null,
      ofRun.variants.length > 1 ? dvis.choice("Variant", ofRun.variants.map((v) => [v.name, v.name]), side.variant.variant, (variant) => change({ run: side.variant.run, variant }), { ...id("variant"), "aria-label": name("Variant") }) : null,
      dvis.choice("Layer", side.variant.layers.map((layer) => [layer.name, layer.name]), side.summary.name, (layer) => change({ layer, channel: null }), { ...id("layer"), "aria-label": name("Layer") }),
      dvis.choice(noun, side.read.layer.channels.map((c) => [String(c), String(c)]), String(side.channel), (channel) => change({ layer: side.summary.name, channel }), { ...id("channel"), "aria-label": name(noun) }));
  }

  /** What each side is called: its unit, and whatever else tells them apart. */
  function nameSides(sides) {
    const [one, other] = sides.map((side) => side.variant);
    for (const side of sides) {
      const parts = [`${side.summary.name} ${side.channel}`];
      const { layer } = side.read;
      if (layer.classes) parts.push(layer.classes.names[layer.channels.indexOf(side.channel)]);
      if (one.run !== other.run) parts.push(`run ${side.variant.run}`);
      if (one.variant !== other.variant) parts.push(side.variant.variant);
      side.name = parts.join(", ");
    }
  }

  /** One side: what it is, its slider, its image, its film. */
  function column(context, side, which, onChange) {
    const { page } = context;
    const { unit, strip } = side.read;
    const large = unitParts.largeImage({ alternative: (index, name) => `${which.letter}: ${context.overview.nouns.picture} of ${side.name} at ${words.moment(side.checkpoints[index])}${name === "complete" ? "" : `: ${name}`}` });
    const facts = unitParts.facts(unit);
    const bar = dvis.checkpointBar({ checkpoints: side.checkpoints, index: side.checkpoint, name: `Checkpoint of ${which.letter}`, onChange: (index) => onChange(index) });
    let film = null;
    const area = dvis.fitted("film-holder", (width) => {
      film = dvis.filmstrip({ width, checkpoints: side.checkpoints, kind: dvis.scales.usual(side.checkpoints), strip, cell: unit.strip, status: unit.status, cursor: bar.index, onPick: (index) => bar.go(index), maxRows: 1, hasAxis: false });
      return film.element;
    });
    const link = element("a", { href: page.href({ view: "unit", layer: side.summary.name, channel: side.channel }, { run: page.runInAddress(side.variant.run), variant: page.variantInAddress(side.variant.run, side.variant.variant) }) }, side.name);
    return {
      bar, side,
      element: element("section", { class: `card compare-side ${which.className}`, "aria-label": `Side ${which.letter}` },
        element("h2", {}, element("span", { class: `letter ${which.className}` }, which.letter), link),
        chooser(context, side, which), bar.element,
        element("div", { class: "compare-image" }, large.element, element("div", {}, element("p", { class: "subtitle" }, words.birth(unit.birth)), facts.element)), area.element),
      show(index) {
        bar.set(index);
        facts.moveTo(index);
        if (film) film.moveTo(index);
        return large.show({ index, status: unit.status[index], hasImage: unit.has_image[index], strip, cell: unit.strip, address: side.read.imageAddress(index) });
      },
    };
  }

  /** Where the cursor can stand: at each checkpoint of either side, with its like of the other. */
  function stopsOf(sides, places) {
    return sides.flatMap((side, i) => side.checkpoints.map((checkpoint, index) => {
      const like = counterpart(index, side.checkpoints, sides[1 - i].checkpoints);
      return { checkpoint, place: places[i][index], indices: i ? [like, index] : [index, like] };
    }));
  }

  /** Each side's trajectory over its own checkpoints. */
  function bothCurves(sides, context) {
    const [one, other] = sides.map((side) => side.checkpoints);
    const asked = context.place.query.get("x") || dvis.scales.usual([...one, ...other]);
    const { kind, named, places, note } = dvis.scales.shared(one, other, asked);
    const stops = stopsOf(sides, places);
    let panel = null;
    let cursor = null;
    const series = sides.map((side, i) => ({
      name: SIDES[i].letter, className: SIDES[i].className, values: dvis.unit.trusted(side.read.unit), checkpoints: side.checkpoints, places: places[i],
    }));
    const area = dvis.fitted("timeline", (width) => {
      panel = dvis.plot.panel({ width, height: 200, checkpoints: named, places: places.flat(), stops, kind, series, cursor, withZero: true, title: "Activation", label: `Activation of ${sides.map((side) => side.name).join(" and ")}` });
      return [panel.element, dvis.plot.legend(sides.map((side, i) => [SIDES[i].className, `${SIDES[i].letter}: ${side.name}`])), note ? element("p", { class: "quiet axis-note" }, note) : null];
    });
    return {
      element: area.element,
      moveTo(side, index) { cursor = side * one.length + index; if (panel) panel.moveTo(cursor); },
    };
  }

  async function compareView(context) {
    const { page, place, overview } = context;
    const first = await sideOf(context, SIDES[0], { ...overview.default, layer: null, channel: null });
    const channels = first.read.layer.channels;
    const next = channels[(channels.indexOf(first.channel) + 1) % channels.length];
    const { run, variant } = first.variant;
    const { query } = place;
    const isElsewhere = (query.get("other_run") || run) !== run || (query.get("other_variant") || variant) !== variant;
    const second = await sideOf(context, SIDES[1], { run, variant, layer: first.summary.name, channel: isElsewhere ? first.channel : next });
    const sides = [first, second];
    nameSides(sides);
    let isLinked = place.query.get("link") !== "no";
    const indexOf = (side, label) => { const i = side.checkpoints.findIndex((c) => c.label === label); return i < 0 ? side.checkpoints.length - 1 : i; };
    first.checkpoint = indexOf(first, place.query.get("checkpoint"));
    second.checkpoint = isLinked ? counterpart(first.checkpoint, first.checkpoints, second.checkpoints) : indexOf(second, place.query.get("other_checkpoint"));

    const columns = sides.map((side, i) => column(context, side, SIDES[i], (index) => moved(i, index)));
    const curves = bothCurves(sides, context);

    function remember() {
      page.remember(first.checkpoints, columns[0].bar.index);
      if (isLinked) page.update({ other_checkpoint: null, link: null });
      else {
        page.update({ link: "no" });
        page.remember(second.checkpoints, columns[1].bar.index, "other_checkpoint");
      }
    }
    function moved(i, index) {
      const other = 1 - i;
      const shown = [columns[i].show(index)];
      if (isLinked) shown.push(columns[other].show(counterpart(index, sides[i].checkpoints, sides[other].checkpoints)));
      curves.moveTo(i, index);
      remember();
      return Promise.all(shown);
    }
    const link = element("input", { type: "checkbox", id: "link", on: { change: () => { isLinked = link.checked; if (isLinked) moved(0, columns[0].bar.index); else remember(); } } });
    link.checked = isLinked;
    const root = element("div", { class: "compare-view" },
      element("div", { class: "title-row" }, element("h1", {}, "Compare"), element("label", { class: "tickbox" }, link, "sliders move together")),
      element("section", { class: "card", "aria-label": "Trajectories" }, curves.element),
      element("div", { class: "compare-sides" }, columns.map((each) => each.element)));
    return {
      element: root, title: `${first.name} and ${second.name}`, bar: columns[0].bar,
      ready() {
        curves.moveTo(0, first.checkpoint);
        return Promise.all(columns.map((each) => each.show(each.side.checkpoint)));
      },
      close() { columns.forEach((each) => each.bar.pause()); },
    };
  }

  dvis.views = dvis.views || {};
  dvis.views.compare = compareView;
  dvis.compare = { counterpart };
})((window.dvis = window.dvis || {}));
