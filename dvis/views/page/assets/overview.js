"use strict";

// What a store holds: its model and runs, its training, its layers, what is missing.
(function (dvis) {
  const { element, button, words, pictures } = dvis;
  const N_EXAMPLES = 6;
  const N_PROBLEMS = 20;
  const MAX_LINES = 8;
  const PANELS = [
    ["loss", "Loss", [["train_loss", "training"], ["val_loss", "validation"]]],
    ["accuracy", "Accuracy", [["train_accuracy", "training"], ["val_accuracy", "validation"]]],
    ["llc", "Local learning coefficient", [["llc", "LLC"]]],
  ];

  function hasNumbers(values) {
    return Boolean(values) && values.some((v) => v !== null);
  }

  function seriesOf(metrics, names) {
    return names
      .map(([metric, name], i) => ({ name, values: metrics[metric], className: `series-${i}` }))
      .filter((s) => hasNumbers(s.values));
  }

  function llcBand(metrics) {
    if (!hasNumbers(metrics.llc_se)) return null;
    const shifted = (sign) => metrics.llc.map((v, i) => (v === null || metrics.llc_se[i] === null ? null : v + sign * metrics.llc_se[i]));
    return { low: shifted(-1), high: shifted(1) };
  }

  function bornSeries(layers) {
    const known = layers.filter((layer) => hasNumbers(layer.born_share));
    const step = Math.max(1, Math.ceil(known.length / MAX_LINES));
    const shown = known.filter((_, i) => i % step === 0);
    return shown.map((layer, i) => ({
      name: words.shortened(layer.name, 16), values: layer.born_share,
      className: `depth-${Math.round((i / Math.max(1, shown.length - 1)) * (MAX_LINES - 1))}`,
    }));
  }

  /** Loss, accuracy, LLC and births over one axis of checkpoints. */
  function training(context, onPick) {
    const { variant, checkpoints } = context;
    const found = PANELS.map(([name, title, names]) => ({ name, title, series: seriesOf(variant.metrics, names) })).filter((p) => p.series.length);
    const born = bornSeries(variant.layers);
    if (born.length) found.push({ name: "births", title: "Share of channels born, by layer", series: born });
    let panels = [];
    let cursor = context.checkpoint;
    const area = dvis.fitted("panels", (width) => {
      panels = found.map((each, i) => dvis.plot.panel({
        width, height: (i === found.length - 1 ? 152 : 118), checkpoints, kind: context.axisKind, series: each.series,
        band: each.name === "llc" ? llcBand(variant.metrics) : null, withTicks: i === found.length - 1,
        withZero: each.name !== "llc", title: each.title, label: `${each.title} over ${checkpoints.length} checkpoints`, cursor, onPick,
      }));
      return panels.map((panel, i) => [panel.element, found[i].series.length > 1 ? dvis.plot.legend(found[i].series.map((s) => [s.className, s.name])) : null]);
    });
    return {
      element: found.length ? area.element : element("p", { class: "quiet" }, "No numbers of the training were kept with these checkpoints, and no unit has a birth."),
      moveTo(index) { cursor = index; panels.forEach((panel) => panel.moveTo(index)); },
    };
  }

  function halfBorn(layer, checkpoints) {
    const place = layer.born_share.findIndex((share) => share !== null && share >= 0.5);
    return place < 0 ? words.MISSING : words.moment(checkpoints[place]);
  }

  function stateBar(layer) {
    const numbers = words.STATUS.map((status) => [status, layer[`n_${status}`]]);
    const all = numbers.reduce((sum, [, n]) => sum + n, 0) || 1;
    const text = numbers.filter(([, n]) => n).map(([status, n]) => `${words.count(n)} ${status}`).join(", ");
    return element("div", { class: "state-bar", role: "img", "aria-label": text, title: text },
      ["complete", "incomplete", "failed", "absent"].map((status) => {
        const n = layer[`n_${status}`];
        return n ? element("i", { class: status, style: { "flex-grow": String(Math.max(n / all, 0.01)) } }) : null;
      }));
  }

  /** The channels with the highest last activation, drawn once the row comes in sight. */
  function examples(context, layer) {
    const holder = element("a", { class: "examples", href: context.page.href({ view: "layer", layer: layer.name }), tabindex: -1, "aria-hidden": "true" },
      Array.from({ length: N_EXAMPLES }, () => element("canvas", { class: "thumb", width: 1, height: 1 })));
    const observer = new IntersectionObserver(async (entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      observer.disconnect();
      try {
        const document_ = await dvis.source.read(`layer/${context.variantIndex}/${layer.index}`);
        await drawExamples(holder, context, layer, document_);
      } catch {
        holder.classList.add("lost");
      }
    });
    observer.observe(holder);
    return holder;
  }

  async function drawExamples(holder, context, layer, document_) {
    const at = context.checkpoint;
    const first = document_.channels.slice(0, pictures.BLOCK).map((_, i) => i);
    const chosen = first
      .filter((i) => document_.status[at][i] === "1")
      .sort((i, j) => (document_.growth[j] ?? -Infinity) - (document_.growth[i] ?? -Infinity))
      .slice(0, N_EXAMPLES);
    if (!chosen.length) return;
    const sprite = await pictures.load(pictures.thumbsAddress(context.variantIndex, layer.index, document_, at, 0));
    const size = pictures.cellSize(sprite, document_, 0);
    chosen.forEach((position, i) => pictures.drawCell(holder.children[i], sprite, position, 8, size));
  }

  function layers(context) {
    const { variant, checkpoints, page } = context;
    const sparks = [];
    const heads = ["Layer", "Channels", "State", "Median activation", "Born", "Half born at", "Largest growth"];
    const rows = variant.layers.map((layer) => {
      const median = dvis.plot.sparkline(layer.median, { width: 132, label: `Median activation of ${layer.name}`, band: { low: layer.q25, high: layer.q75 }, cursor: context.checkpoint });
      const born = dvis.plot.sparkline(layer.born_share, { width: 92, label: `Share of born channels of ${layer.name}`, cursor: context.checkpoint });
      const value = element("span", { class: "after" });
      const share = element("span", { class: "after" });
      sparks.push((index) => {
        median.moveTo(index);
        born.moveTo(index);
        value.textContent = words.number(layer.median[index], 3);
        share.textContent = words.percent(layer.born_share[index]);
      });
      return element("tr", {},
        element("th", { scope: "row" }, element("a", { href: page.href({ view: "layer", layer: layer.name }) }, layer.name)),
        element("td", { class: "n" }, words.count(layer.n_channels)),
        element("td", {}, stateBar(layer)),
        element("td", { class: "spark" }, median.element, value),
        element("td", { class: "spark" }, born.element, share),
        element("td", {}, halfBorn(layer, checkpoints)),
        element("td", {}, examples(context, layer)));
    });
    const moveTo = (index) => sparks.forEach((spark) => spark(index));
    moveTo(context.checkpoint);
    const table = element("table", { class: "layers" }, element("caption", { class: "unseen" }, "Layers"),
      element("thead", {}, element("tr", {}, heads.map((head) => element("th", { scope: "col" }, head)))), element("tbody", {}, rows));
    return { element: element("div", { class: "scroll-x", tabindex: 0, role: "region", "aria-label": "Layers" }, table), moveTo };
  }

  function missing(context) {
    const { overview, variant } = context;
    const sum = (name) => variant.layers.reduce((total, layer) => total + layer[name], 0);
    const all = words.STATUS.reduce((total, status) => total + sum(`n_${status}`), 0);
    const cards = ["complete", "incomplete", "failed", "absent"].map((status) =>
      element("li", { class: sum(`n_${status}`) ? "" : "none" }, element("span", { class: `state-key ${status}`, "aria-hidden": "true" }),
        element("strong", {}, words.count(sum(`n_${status}`))), ` ${status}`));
    const list = element("ul", { class: "problems" });
    const show = (n) => dvis.replace(list, overview.problems.slice(0, n).map((text) => element("li", {}, text)));
    show(N_PROBLEMS);
    const rest = overview.problems.length - N_PROBLEMS;
    const more = rest > 0 ? button(`Show ${words.counted(rest, "more problem")}`, () => { show(overview.problems.length); more.remove(); }, { class: "plain" }) : null;
    return element("section", { class: "card", "aria-labelledby": "missing" },
      element("h2", { id: "missing" }, "What is missing or failed"),
      element("p", { class: "quiet" }, `${words.counted(all, "unit")} of this variant, over all checkpoints:`),
      element("ul", { class: "tally-list" }, cards),
      overview.n_problems ? [element("p", {}, `${words.counted(overview.n_problems, "problem")} noted in the store`, overview.n_problems > overview.problems.length ? `, the first ${words.count(overview.problems.length)} here` : "", ":"), list, more] : element("p", { class: "quiet" }, "The store notes no problems."));
  }

  function facts(context) {
    const { overview, variant, checkpoints } = context;
    const first = checkpoints[0];
    const last = checkpoints[checkpoints.length - 1];
    const rows = [
      ["store", overview.store],
      ["run", variant.run],
      ["checkpoints", checkpoints.length > 1 ? `${words.count(checkpoints.length)}, ${words.moment(first)} to ${words.moment(last)}` : words.count(checkpoints.length)],
      ["layers", `${words.count(variant.layers.length)}, ${words.counted(variant.n_channels_shown, "channel")}`],
      ["images", `${variant.image.width} × ${variant.image.height} px`],
      ["made", [overview.created && overview.created.slice(0, 10), overview.dvis_version && `dvis ${overview.dvis_version}`].filter(Boolean).join(" by ")],
    ].filter(([, text]) => text);
    return element("dl", { class: "headline" }, rows.map(([name, text]) => element("div", {}, element("dt", {}, name), element("dd", { title: text }, text))));
  }

  async function overviewView(context) {
    const { page, overview, checkpoints } = context;
    let move = () => {};
    const bar = dvis.checkpointBar({
      checkpoints, index: context.checkpoint, metrics: context.shownMetrics,
      onChange(index) {
        context.checkpoint = index;
        page.remember(checkpoints, index);
        move(index);
      },
    });
    const curves = training(context, (index) => { bar.go(index); });
    const table = layers(context);
    move = (index) => { curves.moveTo(index); table.moveTo(index); page.relink(); };
    const root = element("div", { class: "overview" },
      element("div", { class: "title-row" }, element("h1", {}, overview.model || "A store"), facts(context)),
      (overview.notes || []).map((note) => element("p", { class: "note" }, note)),
      bar.element,
      element("section", { class: "card", "aria-labelledby": "training" },
        element("div", { class: "card-head" }, element("h2", { id: "training" }, "Over training"), context.axisChoice()), curves.element),
      element("section", { class: "card", "aria-labelledby": "layers" }, element("h2", { id: "layers" }, "Layers"), table.element),
      missing(context));
    return { element: root, title: "Overview", bar, close() { bar.pause(); } };
  }

  dvis.views = dvis.views || {};
  dvis.views.overview = overviewView;
})((window.dvis = window.dvis || {}));
