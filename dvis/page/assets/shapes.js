"use strict";

// Parts of a run or a unit, which come as plain data in a few shapes: what draws each shape. Another
// shape is one function more in the table at the end.
(function (dvis) {
  const { element, words } = dvis;
  const N_DEPTHS = 8; // colours of many lines
  const LAST_HEIGHT = 152; // of several plots over one axis, the last bears its names
  const HEIGHT = 118;
  const N_BARS = 10;

  const hasNumbers = (values) => Boolean(values) && values.some((v) => v !== null && v !== undefined);

  /** Class names for the colours of so many lines. */
  function colours(n) {
    if (n <= 2) return Array.from({ length: n }, (_, i) => `series-${i}`);
    return Array.from({ length: n }, (_, i) => `depth-${Math.round((i / (n - 1)) * (N_DEPTHS - 1))}`);
  }

  /** Puts values of a part's checkpoints at those of the page; null where the part has none. */
  function placer(part, checkpoints) {
    const places = new Map(part.checkpoints.map((label, i) => [label, i]));
    return (values, missing = null) => checkpoints.map(({ label }) => (places.has(label) ? values[places.get(label)] ?? missing : missing));
  }

  function bandOf(line, placed) {
    if (!line.low || !line.high) return null;
    const band = { low: placed(line.low), high: placed(line.high) };
    return hasNumbers(band.low) && hasNumbers(band.high) ? band : null;
  }

  /** What `panels` takes, of a part in the shape of curves. */
  function plotted(part, checkpoints) {
    const placed = placer(part, checkpoints);
    const names = colours(part.lines.length);
    const series = part.lines.map((line, i) => ({
      name: line.label, className: names[i], values: placed(line.values), band: bandOf(line, placed),
      remarks: placed(line.remarks, "").map((remark) => remark && `, ${remark}`),
    })).filter((s) => hasNumbers(s.values));
    const nullBand = bandOf({ low: part.null_low, high: part.null_high }, placed);
    return { title: part.title, series, withZero: part.with_zero, nullBand, legend: legendOf(part, series, nullBand) };
  }

  function legendOf(part, series, nullBand) {
    const entries = series.map((s) => [s.className, s.name]);
    if (part.band && series.some((s) => s.band)) entries.push(["series-band", part.band]);
    if (nullBand && series.length) entries.push(["series-null", part.null_text]);
    const n = series[0] ? series[0].values.filter((_, i) => series.some((s) => s.remarks[i])).length : 0;
    if (part.remark && n) entries.push(["cross-key", `${part.remark}, at ${words.counted(n, "checkpoint")}`]);
    return entries.length > 1 ? entries : [];
  }

  /** Plots over one axis of checkpoints, which the last of them names. */
  function panels(plots, context, onPick) {
    const { checkpoints } = context;
    let drawn = [];
    let cursor = context.checkpoint;
    const area = dvis.fitted("panels", (width) => {
      drawn = plots.map(({ title, series, withZero, nullBand }, i) => {
        const isLast = i === plots.length - 1;
        return dvis.plot.panel({
          width, height: isLast ? LAST_HEIGHT : HEIGHT, checkpoints, kind: context.axisKind, series, nullBand, withTicks: isLast, withZero,
          title: dvis.plot.fits(title, width) ? title : "", label: `${title} over ${checkpoints.length} checkpoints`, cursor, onPick,
        });
      });
      // A title that is too long for its panel is wrapped above it.
      const above = plots.map(({ title }) => (dvis.plot.fits(title, width) ? null : element("p", { class: "panel-title wrapped" }, title)));
      return drawn.map((panel, i) => [above[i], panel.element, plots[i].legend.length ? dvis.plot.legend(plots[i].legend) : null]);
    });
    return {
      element: area.element,
      moveTo(index) { cursor = index; drawn.forEach((panel) => panel.moveTo(index)); },
    };
  }

  /** Values that are told beside the slider, by what they are called there. */
  function besideSlider(parts, checkpoints) {
    return Object.fromEntries(parts.filter((part) => part.shape === "curves").flatMap((part) =>
      part.lines.filter((line) => line.beside_slider).map((line) => [line.beside_slider, placer(part, checkpoints)(line.values)])));
  }

  function card(part, note, content) {
    return element("section", { class: "card part", "data-shape": part.shape },
      element("h2", {}, part.title), note ? element("p", { class: "quiet" }, note) : null, content);
  }

  function curves(part, context, onPick) {
    const plot = plotted(part, context.checkpoints);
    if (!plot.series.length) return { element: null, moveTo() {} };
    const drawn = panels([{ ...plot, title: "" }], context, onPick);
    return { element: card(part, "", drawn.element), moveTo: drawn.moveTo };
  }

  function matrix(part, context, onPick) {
    const { checkpoints } = context;
    const places = new Map(checkpoints.map((c, i) => [c.label, i]));
    const columns = part.checkpoints.map((label) =>
      places.has(label) ? checkpoints[places.get(label)] : { label, step: null, epoch: null, batch: null, time: null, phase: "" });
    const names = part.rows.map((label) => (part.rows_are_checkpoints && places.has(label) ? words.tick(checkpoints[places.get(label)]) : label));
    const columnOf = (index) => {
      const at = part.checkpoints.indexOf(checkpoints[index].label);
      return at < 0 ? null : at;
    };
    const map = dvis.heatmap({
      rows: part.values, names, checkpoints: columns, rowTitle: part.row_title, cursor: columnOf(context.checkpoint),
      label: `${part.title}: ${part.rows.length} rows by ${columns.length} checkpoints`,
      markDiagonal: part.rows_are_checkpoints && part.rows.join("\n") === part.checkpoints.join("\n"),
      onPick: (x) => { if (places.has(part.checkpoints[x])) onPick(places.get(part.checkpoints[x])); },
    });
    return { element: card(part, part.note, map.element), moveTo: (index) => map.moveTo(columnOf(index)) };
  }

  function table(part) {
    const text = (value) => (typeof value === "number" || value === null ? words.number(value) : String(value));
    const content = element("div", { class: "scroll-x", tabindex: 0, role: "region", "aria-label": part.title },
      element("table", { class: "rows" },
        element("thead", {}, element("tr", {}, part.columns.map((name) => element("th", { scope: "col" }, name)))),
        element("tbody", {}, part.rows.map((row) => element("tr", {}, row.map((value) => element("td", {}, text(value))))))));
    return { element: card(part, part.note, content), moveTo() {} };
  }

  /** Bars of the slider's checkpoint, the highest first. */
  function bars(part, context) {
    const places = new Map(part.checkpoints.map((label, i) => [label, i]));
    const list = element("ol", { class: "bars" });
    const most = Math.max(1e-12, ...part.values.flat().map((v) => Math.abs(v ?? 0)));
    function moveTo(index) {
      const at = places.get(context.checkpoints[index].label);
      const known = at === undefined ? [] : part.rows.map((name, i) => [name, part.values[i][at]]).filter(([, v]) => v !== null);
      known.sort((a, b) => b[1] - a[1]).splice(N_BARS);
      const bound = part.bound && at !== undefined ? part.bound[at] : null;
      const mark = () => (hasNumbers([bound]) ? element("b", { style: { left: `${Math.min(1, bound / most) * 100}%` } }) : null);
      dvis.replace(list, known.length ? known.map(([name, value]) => element("li", {},
        element("span", { class: "bar-name", title: name }, name),
        element("span", { class: "bar-level" }, element("i", { class: value < 0 ? "below" : "", style: { width: `${(Math.abs(value) / most) * 100}%` } }), mark()),
        element("span", { class: "bar-number" }, words.number(value, 3)))) : element("li", { class: "quiet" }, `${part.empty[at] || words.UNKNOWN}.`));
    }
    moveTo(context.checkpoint);
    return { element: card(part, part.note, list), moveTo };
  }

  function unknown(part) {
    return { element: card(part, `This page draws nothing in the shape of a ${part.shape}.`), moveTo() {} };
  }

  const SHAPES = { curves, matrix, table, bars, pictures: (part, context, onPick) => dvis.samples.rows(part, context, onPick, card), graph: (part, context) => dvis.graph(part, context, card) };
  const WIDE = ["pictures", "graph"]; // as wide as the page

  /** A card for each part; `onPick(index)` when a checkpoint is chosen on one. */
  function cards(parts, context, onPick) {
    const drawn = parts.map((part) => (SHAPES[part.shape] || unknown)(part, context, onPick));
    return { elements: drawn.map((each) => each.element), moveTo: (index) => drawn.forEach((each) => each.moveTo(index)) };
  }

  dvis.shapes = { SHAPES, isWide: (part) => WIDE.includes(part.shape), cards, panels, plotted, besideSlider, hasNumbers };
})((window.dvis = window.dvis || {}));
