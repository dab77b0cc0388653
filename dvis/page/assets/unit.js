"use strict";

// One unit: its images and its trajectory over training, and all that is known of it.
(function (dvis) {
  const { element, words, unitParts, pictures } = dvis;

  /** Documents and the strip of a unit, and where its images are. */
  async function readUnit(variantIndex, summary, channel) {
    const path = `${variantIndex}/${summary.index}/${channel}`;
    const [layer, unit] = await Promise.all([
      dvis.source.read(`layer/${variantIndex}/${summary.index}`),
      dvis.source.read(`unit/${path}`),
    ]);
    const stripAddress = dvis.source.picture(`strip/${path}`, unit.strip.version, unit.strip.suffix);
    const strip = await pictures.load(stripAddress).catch(() => null);
    return {
      path, layer, unit, strip, stripAddress,
      imageAddress: (index) => (dvis.source.isLive ? dvis.source.picture(`image/${path}/${index}`, layer.versions[index]) : null),
    };
  }

  function birthMark(unit, checkpoints) {
    if (unit.birth.state !== "born") return [];
    const index = checkpoints.findIndex((c) => c.label === unit.birth.label);
    return index < 0 ? [] : [{ index, text: "birth", className: "birth" }];
  }

  /** Activation where the unit is complete: what stands of the others is not to be trusted. */
  function trusted(unit) {
    return unit.activation.map((value, i) => (unit.status[i] === "1" ? value : null));
  }

  function timeline({ noun, summary, unit, strip, checkpoints, kind, checkpoint, onPick }) {
    let parts = [];
    let cursor = checkpoint;
    const area = dvis.fitted("timeline", (width) => {
      const film = dvis.filmstrip({ width, checkpoints, kind, strip, cell: unit.strip, status: unit.status, cursor, onPick });
      const panel = dvis.plot.panel({
        width, height: 190, checkpoints, kind, cursor, onPick, withZero: true, title: "Activation",
        label: `Activation of ${noun} ${unit.channel} of ${summary.name} over checkpoints`,
        series: [{ name: "activation", values: trusted(unit), className: "series-0" }, { name: "median of the layer", values: summary.median, className: "series-quiet" }],
        band: { low: summary.q25, high: summary.q75 }, marks: birthMark(unit, checkpoints),
      });
      parts = [film, panel];
      return [film.element, panel.element, dvis.plot.legend([["series-0", `this ${noun}`], ["series-quiet", "median of the layer"], ["series-band", "middle half of the layer"]])];
    });
    return { element: area.element, moveTo(index) { cursor = index; parts.forEach((part) => part.moveTo(index)); } };
  }

  function neighbourLinks(context, layer, channel) {
    const { page, summary } = context;
    const noun = words.capital(context.variant.unit);
    const at = layer.channels.indexOf(channel);
    const link = (position, text, label) => {
      const other = layer.channels[position];
      if (other === undefined) return element("span", { class: "icon off", "aria-hidden": "true" }, text);
      return element("a", { class: "icon", href: page.href({ view: "unit", layer: summary.name, channel: other }), "aria-label": `${label} ${other}`, title: `${label} ${other}` }, text);
    };
    return { at, before: layer.channels[at - 1], after: layer.channels[at + 1], elements: [link(at - 1, "‹", noun), link(at + 1, "›", noun)] };
  }

  function variantTabs(context, channel) {
    const { page, overview, variant, summary } = context;
    const run = overview.runs.find((each) => each.name === variant.run);
    if (!run || run.variants.length < 2) return null;
    return element("nav", { class: "tabs", "aria-label": "Variants" }, run.variants.map((each) =>
      element("a", {
        href: page.href({ view: "unit", layer: summary.name, channel }, { variant: page.variantInAddress(run.name, each.name) }),
        "aria-current": each.name === variant.variant ? "page" : null,
      }, each.name)));
  }

  /** Where the same unit stands in a list, with what else is known of it. */
  function listLink(context, unit) {
    const { page, overview, variant, summary } = context;
    const list = overview.lists.find((each) => each.run === variant.run && each.layer === summary.name && each.name === variant.list);
    if (!list) return null;
    return element("p", {}, element("a", { class: "action", href: page.href({ view: "listed", layer: list.layer, name: list.name, unit }) }, `${words.capital(list.noun)} ${unit} of ${list.name}`));
  }

  async function requireChannel(variantIndex, summary, channel, noun) {
    const { channels } = await dvis.source.read(`layer/${variantIndex}/${summary.index}`);
    if (channels.includes(channel)) return;
    const there = channels.length > 10 ? `${channels.slice(0, 10).join(", ")}, … (${words.counted(channels.length, noun)} in all, up to ${channels[channels.length - 1]})` : channels.join(", ") || "none";
    throw new Error(`There is no ${noun} ${JSON.stringify(channel)} in ${summary.name}. ${words.capital(noun)}s: ${there}`);
  }

  async function unitView(context) {
    const { page, summary, checkpoints, variantIndex } = context;
    const channel = context.place.channel;
    const noun = context.variant.unit;
    await requireChannel(variantIndex, summary, channel, noun);
    const read = await readUnit(variantIndex, summary, channel);
    const { layer, unit, strip, path } = read;
    const position = layer.channels.indexOf(channel);
    const beside = neighbourLinks(context, layer, channel);
    const go = (index) => { bar.go(index); };

    const full = dvis.enlarged(context, { channel, read, bar: () => bar });
    const large = unitParts.largeImage({ onOpen: full.open, alternative: (index, name) => `${words.capital(context.overview.nouns.picture)} of ${noun} ${channel} of ${summary.name} at ${words.moment(checkpoints[index])}${name === "complete" ? `, activation ${words.number(unit.activation[index])}` : `: ${name}`}` });
    const line = timeline({ noun, summary, unit, strip, checkpoints, kind: context.axisKind, checkpoint: context.checkpoint, onPick: go });
    const facts = unitParts.facts(unit);
    const parameters = unitParts.parameters(unit);
    const { isWide } = dvis.shapes;
    const rows = dvis.shapes.cards(unit.parts.filter(isWide), context, go);
    const parts = dvis.shapes.cards(unit.parts.filter((part) => !isWide(part)), context, go);
    const alike = unitParts.alike(layer, position);
    const family = unitParts.relatives({
      variant: variantIndex, layerIndex: summary.index, layer,
      items: alike.map(({ position: other, r }) => ({ position: other, text: `r ${words.number(r, 2)}`, title: `${words.capital(noun)} ${layer.channels[other]}, correlation ${words.number(r, 3)}` })),
      href: (other) => page.href({ view: "unit", layer: summary.name, channel: other }),
    });
    const caption = element("p", { class: "large-caption" });
    const followers = [full, line, facts, parameters, rows, parts, family];

    function show(index) {
      context.checkpoint = index;
      page.remember(checkpoints, index);
      caption.textContent = words.moment(checkpoints[index]);
      followers.forEach((part) => part.moveTo(index));
      page.relink();
      return large.show({ index, status: unit.status[index], hasImage: unit.has_image[index], strip, cell: unit.strip, address: read.imageAddress(index) });
    }

    const bar = dvis.checkpointBar({ checkpoints, index: context.checkpoint, onChange: show, metrics: context.besideSlider });
    const birth = unit.birth;
    const between = birth.state === "born" && birth.earliest_step !== null && birth.earliest_step !== undefined ? ` (risen after step ${words.count(birth.earliest_step)})` : "";
    const name = `${context.overview.model}_${summary.name}_${channel}`;
    const root = element("div", { class: "unit-view" },
      element("div", { class: "title-row" },
        element("h1", {}, element("span", { class: "dim" }, summary.name), ` ${noun} `, String(channel)), element("span", { class: "beside" }, beside.elements),
        layer.classes ? element("p", { class: "class-of", title: `as ${layer.classes.set} has them` }, words.classOf(layer, position)) : null,
        element("p", { class: "subtitle", title: birth.comment }, `${words.birth(birth)}${between}${words.measure(birth)}`), listLink(context, channel)),
      unitParts.note(unit, path),
      variantTabs(context, channel),
      bar.element,
      element("div", { class: "unit-main" },
        element("figure", { class: "card current" }, large.element, element("figcaption", {}, caption, facts.element)),
        element("section", { class: "card", "aria-label": "Timeline" }, element("div", { class: "card-head" }, element("h2", {}, "Over training"), checkpoints.length > 1 ? context.axisChoice() : null), checkpoints.length > 1 ? line.element : element("p", { class: "quiet" }, words.ALONE))),
      rows.elements.length ? element("div", { class: "unit-wide" }, rows.elements) : null,
      element("div", { class: "unit-more" },
        parts.elements,
        element("section", { class: "card" }, element("h2", {}, "Alike trajectories"), element("p", { class: "quiet" }, alike.length ? `${words.capital(noun)}s of ${summary.name} whose activation goes the same way (Pearson's r).` : `No other ${noun} is known at enough checkpoints.`), family.element),
        element("section", { class: "card" }, element("h2", {}, "In Python"), unitParts.pythonLine(unit.select),
          element("h2", {}, "Download"), unitParts.downloads({ unit, checkpoints, name, stripAddress: read.stripAddress, path })),
        element("section", { class: "card across" }, element("h2", {}, "Recorded parameters"), parameters.element)));
    return {
      element: root, title: `${summary.name} ${channel}`, bar,
      async ready() {
        await show(context.checkpoint);
        if (context.place.query.has("enlarged")) await full.open(large.element);
      },
      close() { full.close(); bar.pause(); },
      sibling(by) {
        const other = by < 0 ? beside.before : beside.after;
        if (other !== undefined) page.go(page.href({ view: "unit", layer: summary.name, channel: other }));
      },
    };
  }

  dvis.views = dvis.views || {};
  dvis.views.unit = unitView;
  dvis.unit = { readUnit, trusted, birthMark };
})((window.dvis = window.dvis || {}));
