"use strict";

// What a store holds: its model and runs, its training, its layers, what is missing.
(function (dvis) {
  const { element, button, words, pictures, shapes } = dvis;
  const WITHOUT = ["absent", "failed", "dead"]; // images
  const N_PROBLEMS = 20;
  const MAX_LINES = 8;
  const REST_MS = 120;
  const OVER_TRAINING = new Set(["Born", "Half born at", "Largest growth"]); // columns that one checkpoint has nothing for

  /** The share of channels that are born, of some of the layers where there are many. */
  function births(layers, noun) {
    const known = layers.filter((layer) => shapes.hasNumbers(layer.born_share));
    const n = Math.min(known.length, MAX_LINES);
    const shown = Array.from({ length: n }, (_, i) => known[Math.round((i / Math.max(1, n - 1)) * (known.length - 1))]);
    const series = shown.map((layer, i) => ({
      name: words.shortened(layer.name, 16), values: layer.born_share,
      className: `depth-${Math.round((i / Math.max(1, n - 1)) * (MAX_LINES - 1))}`,
    }));
    const which = n < known.length ? `, ${n} of ${words.counted(known.length, "layer")}` : ", by layer";
    const legend = n > 1 ? series.map((s) => [s.className, s.name]) : [];
    const measure = n ? words.measure({ measure: known[0].birth_measure }) : "";
    return { title: `Share of ${noun}s born${which}${measure}`, series, withZero: true, legend };
  }

  /** Curves of the run and births over one axis of checkpoints. */
  function training(context, onPick) {
    const { variant, checkpoints } = context;
    const curves = variant.parts.filter((part) => part.shape === "curves").map((part) => shapes.plotted(part, checkpoints));
    const plots = [...curves, births(variant.layers, variant.unit)].filter((plot) => plot.series.length);
    const drawn = shapes.panels(plots, context, onPick);
    if (plots.length) return drawn;
    return {
      ...drawn,
      element: element("p", { class: "quiet" }, checkpoints.length === 1 ? words.ALONE : "No numbers of the training were kept with these checkpoints, and no unit has a birth."),
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
      ["complete", "incomplete", "failed", "dead", "absent"].map((status) => {
        const n = layer[`n_${status}`];
        return n ? element("i", { class: status, style: { "flex-grow": String(Math.max(n / all, 0.01)) } }) : null;
      }));
  }

  /** The channels that grow most at the slider's checkpoint, drawn once the row is in sight. */
  function examples(context, layer) {
    const holder = element("a", { class: "examples", href: context.page.href({ view: "layer", layer: layer.name }), tabindex: -1, "aria-hidden": "true" });
    let cells = null;
    let isInSight = false;
    let timer = 0;
    async function draw() {
      if (!isInSight) return;
      const at = context.checkpoint;
      const { channels, status, version, suffix } = layer.examples;
      try {
        if (!cells) {
          cells = channels.map((channel) => exampleCell(channel, context.variant.unit));
          dvis.replace(holder, cells.length ? cells.map((cell) => cell.wrapper) : words.MISSING);
        }
        const hasImages = [...status[at]].some((digit) => !WITHOUT.includes(words.STATUS[Number(digit)]));
        const address = dvis.source.picture(`examples/${context.variantIndex}/${layer.index}/${at}`, version, suffix);
        const sprite = hasImages ? await pictures.load(address) : null;
        if (context.checkpoint !== at) return;
        cells.forEach((cell, place) => {
          const named = words.STATUS[Number(status[at][place])];
          cell.wrapper.className = `example ${named}`;
          const size = sprite && { width: sprite.naturalWidth / cells.length, height: sprite.naturalHeight };
          if (sprite && !WITHOUT.includes(named)) pictures.drawCell(cell.canvas, sprite, place, cells.length, size);
        });
        holder.classList.remove("lost");
        holder.dataset.shown = at;
      } catch {
        holder.classList.add("lost");
      }
    }
    const observer = new IntersectionObserver((entries) => {
      isInSight = entries[entries.length - 1].isIntersecting;
      draw();
    });
    observer.observe(holder);
    return {
      element: holder,
      moveTo() {
        window.clearTimeout(timer);
        timer = window.setTimeout(draw, REST_MS);
      },
    };
  }

  function exampleCell(channel, noun) {
    const canvas = element("canvas", { class: "thumb", width: 1, height: 1 });
    const frame = element("span", { class: "frame" }, canvas);
    const wrapper = element("span", { class: "example", title: `${noun} ${channel}`, "data-channel": channel }, frame);
    return { canvas, wrapper };
  }

  function layers(context) {
    const { variant, checkpoints, page } = context;
    const sparks = [];
    const isOverTraining = checkpoints.length > 1;
    const heads = ["Layer", `${words.capital(context.variant.unit)}s`, "State", "Median activation", "Born", "Half born at", "Largest growth"].filter((head) => isOverTraining || !OVER_TRAINING.has(head));
    if (!isOverTraining) heads.push("Images");
    const rows = variant.layers.map((layer) => {
      const median = dvis.plot.sparkline(layer.median, { width: 132, label: `Median activation of ${layer.name}`, band: { low: layer.q25, high: layer.q75 }, cursor: context.checkpoint });
      const born = dvis.plot.sparkline(layer.born_share, { width: 92, label: `Share of born ${context.variant.unit}s of ${layer.name}`, cursor: context.checkpoint });
      const best = examples(context, layer);
      const value = element("span", { class: "after" });
      const share = element("span", { class: "after" });
      sparks.push((index) => {
        median.moveTo(index);
        born.moveTo(index);
        best.moveTo();
        value.textContent = words.number(layer.median[index], 3);
        share.textContent = words.percent(layer.born_share[index]);
      });
      return element("tr", { "data-layer": layer.name },
        element("th", { scope: "row" }, element("a", { href: page.href({ view: "layer", layer: layer.name }) }, layer.name)),
        element("td", { class: "n" }, words.count(layer.n_channels)),
        element("td", {}, stateBar(layer)),
        element("td", { class: "spark" }, isOverTraining ? median.element : null, value),
        isOverTraining ? [element("td", { class: "spark" }, born.element, share), element("td", {}, halfBorn(layer, checkpoints))] : null,
        element("td", {}, best.element));
    });
    const moveTo = (index) => sparks.forEach((spark) => spark(index));
    moveTo(context.checkpoint);
    const table = element("table", { class: "layers" }, element("caption", { class: "unseen" }, "Layers"),
      element("thead", {}, element("tr", {}, heads.map((head) => element("th", { scope: "col" }, head)))), element("tbody", {}, rows));
    return { element: element("div", { class: "scroll-x", tabindex: 0, role: "region", "aria-label": "Layers" }, table), moveTo };
  }

  /** A problem, as a link to its unit where that is shown. */
  function problemText(page, { text, run, variant, layer, channel, checkpoint }) {
    if (layer === undefined) return text;
    const changes = { run: page.runInAddress(run), variant: page.variantInAddress(run, variant), checkpoint };
    return element("a", { href: page.href({ view: "unit", layer, channel }, changes), "data-fixed": true }, text);
  }

  function missing(context) {
    const { overview, variant } = context;
    const sum = (name) => variant.layers.reduce((total, layer) => total + layer[name], 0);
    const all = words.STATUS.reduce((total, status) => total + sum(`n_${status}`), 0);
    const cards = ["complete", "incomplete", "failed", "dead", "absent"].map((status) =>
      element("li", { class: sum(`n_${status}`) ? "" : "none" }, element("span", { class: `state-key ${status}`, "aria-hidden": "true" }),
        element("strong", {}, words.count(sum(`n_${status}`))), ` ${status}`));
    const list = element("ul", { class: "problems" });
    const show = (n) => dvis.replace(list, overview.problems.slice(0, n).map((problem) => element("li", {}, problemText(context.page, problem))));
    show(N_PROBLEMS);
    const rest = overview.problems.length - N_PROBLEMS;
    const more = rest > 0 ? button(`Show ${words.counted(rest, "more problem")}`, () => { show(overview.problems.length); more.remove(); }, { class: "plain" }) : null;
    return element("section", { class: "card", "aria-labelledby": "missing" },
      element("h2", { id: "missing" }, "What is missing, failed or dead"),
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
      ["layers", `${words.count(variant.layers.length)}, ${words.counted(variant.n_channels_shown, variant.unit)}`],
      ["images", `${variant.image.width} × ${variant.image.height} px`],
      ["made", [overview.created && overview.created.slice(0, 10), overview.dvis_version && `dvis ${overview.dvis_version}`].filter(Boolean).join(" by ")],
    ].filter(([, text]) => text);
    return element("dl", { class: "headline" }, rows.map(([name, text]) => element("div", {}, element("dt", {}, name), element("dd", { title: text }, text))));
  }

  async function overviewView(context) {
    const { page, overview, checkpoints } = context;
    let move = () => {};
    const bar = dvis.checkpointBar({
      checkpoints, index: context.checkpoint, metrics: context.besideSlider,
      onChange(index) {
        context.checkpoint = index;
        page.remember(checkpoints, index);
        move(index);
      },
    });
    const curves = training(context, (index) => { bar.go(index); });
    const others = context.variant.parts.filter((part) => part.shape !== "curves");
    const parts = shapes.cards(others, context, (index) => { bar.go(index); });
    const table = layers(context);
    const listsCard = dvis.lists.card(context);
    const search = dvis.search(context, (wanted) => [
      [dvis.search.narrowed(table.element.querySelectorAll("tbody tr"), wanted), "layer"],
      ...(listsCard ? [[dvis.search.narrowed(listsCard.querySelectorAll("li"), wanted), "list"]] : []),
    ]);
    move = (index) => { curves.moveTo(index); parts.moveTo(index); table.moveTo(index); page.relink(); };
    const root = element("div", { class: "overview" },
      element("div", { class: "title-row" }, element("h1", {}, overview.model || "A store"), facts(context)),
      (overview.notes || []).map((note) => element("p", { class: "note" }, note)),
      bar.element,
      search.element,
      element("section", { class: "card", "aria-labelledby": "training" },
        element("div", { class: "card-head" }, element("h2", { id: "training" }, "Over training"), checkpoints.length > 1 ? context.axisChoice() : null), curves.element),
      parts.elements,
      element("section", { class: "card", "aria-labelledby": "layers" }, element("h2", { id: "layers" }, "Layers"), table.element),
      listsCard,
      dvis.maps.card(context),
      missing(context));
    return { element: root, title: "Overview", bar, search: search.field, close() { bar.pause(); search.close(); } };
  }

  dvis.views = dvis.views || {};
  dvis.views.overview = overviewView;
})((window.dvis = window.dvis || {}));
