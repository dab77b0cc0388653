"use strict";

// Which channels of a layer are shown, and in which order: conditions, their text in the address,
// and their controls.
(function (dvis) {
  const { element, button, words } = dvis;
  const QUANTITIES = ["activation", "birth", "growth", "drift"];
  const SORTS = [
    ["channel", "channel"],
    ["activation", "activation here"],
    ["final", "final activation"],
    ["birth", "birth"],
    ["growth", "growth"],
    ["drift", "drift to the last image"],
    ["change", "drift from image to image"],
  ];
  const N_BINS = 28;

  /** Conditions from `status:1,2;state:born;activation:0.5..;birth:..100`. */
  function parse(text) {
    const conditions = { status: null, state: null, ranges: {} };
    for (const part of (text || "").split(";")) {
      const at = part.indexOf(":");
      if (at < 0) continue;
      const name = part.slice(0, at);
      const value = part.slice(at + 1);
      if (name === "status") conditions.status = new Set(value.split(",").filter((d) => /^[0-4]$/.test(d)));
      if (name === "state") conditions.state = new Set(value.split(",").filter((s) => words.BIRTH_STATES.includes(s)));
      if (QUANTITIES.includes(name) && value.includes("..")) {
        const [low, high] = value.split("..").map((v) => (v === "" ? null : Number(v)));
        const bound = (v) => (v === null || Number.isNaN(v) ? null : v);
        conditions.ranges[name] = [bound(low), bound(high)];
      }
    }
    return conditions;
  }

  function text(conditions) {
    const parts = [];
    if (conditions.status) parts.push(`status:${[...conditions.status].sort().join(",")}`);
    if (conditions.state) parts.push(`state:${[...conditions.state].sort().join(",")}`);
    for (const [name, [low, high]] of Object.entries(conditions.ranges)) {
      if (low === null && high === null) continue;
      parts.push(`${name}:${low === null ? "" : low}..${high === null ? "" : high}`);
    }
    return parts.join(";");
  }

  /** One number a channel of a quantity at a checkpoint; null where unknown. */
  function column(table, name, checkpoint) {
    if (name === "channel") return table.channels;
    if (name === "activation") return table.activation[checkpoint];
    if (name === "final") return table.activation[table.activation.length - 1];
    if (name === "birth") return table.birthPlaces;
    if (name === "growth") return table.growth;
    if (name === "drift") return table.drift ? table.drift.to_last : null;
    return table.drift ? table.drift.to_previous : null;
  }

  function needsDrift(conditions, sort) {
    return sort === "drift" || sort === "change" || "drift" in conditions.ranges;
  }

  function isIn(value, [low, high]) {
    if (value === null || value === undefined) return false;
    return (low === null || value >= low) && (high === null || value <= high);
  }

  /** Positions of the channels that meet all conditions, in order. */
  function passing(table, conditions, { checkpoint, sort, isDescending, search }) {
    const status = table.status[checkpoint];
    const wanted = search.trim();
    let positions = table.channels.map((_, i) => i);
    if (wanted) positions = positions.filter((i) => matches(table.channels[i], wanted) || isNoted(table.unit_notes[i], wanted) || (table.classes && isNoted(table.classes.names[i], wanted)));
    if (conditions.status) positions = positions.filter((i) => conditions.status.has(status[i]));
    if (conditions.state) positions = positions.filter((i) => conditions.state.has(table.birth.state[i]));
    for (const [name, range] of Object.entries(conditions.ranges)) {
      const values = column(table, name, checkpoint);
      if (values) positions = positions.filter((i) => isIn(values[i], range));
    }
    const keys = column(table, sort, checkpoint) || table.channels;
    const sign = isDescending ? -1 : 1;
    return positions.sort((i, j) => {
      const [a, b] = [keys[i], keys[j]];
      const isLess = (a === null || a === undefined) - (b === null || b === undefined);
      return isLess || (a === null || a === undefined ? i - j : sign * (a - b) || i - j);
    });
  }

  /** `12`, `12, 40`, `10-20`; else what a channel's number begins with. */
  function matches(channel, wanted) {
    if (/^[\d\s,-]+$/.test(wanted) && /[,-]/.test(wanted)) {
      return wanted.split(",").some((part) => {
        const ends = part.trim().split("-").map((v) => v.trim());
        if (ends[0] === "") return false;
        if (ends.length === 1 || ends[1] === "") return channel === Number(ends[0]);
        return channel >= Number(ends[0]) && channel <= Number(ends[1]);
      });
    }
    return String(channel).startsWith(wanted);
  }

  /** Whether all words that are looked for occur in a note. */
  function isNoted(note, wanted) {
    const text = (note || "").toLowerCase();
    return text !== "" && wanted.toLowerCase().split(/\s+/).every((word) => text.includes(word));
  }

  /** Boxes to tick, with how many channels each stands for. */
  function facet(title, entries, chosen, onChange) {
    const boxes = entries.map(({ value, label, className }) => {
      const box = element("input", { type: "checkbox", on: { change: () => onChange(read()) } });
      box.checked = !chosen || chosen.has(value);
      const amount = element("span", { class: "amount" });
      const line = element("label", { class: "tickbox" }, box,
        element("span", { class: `state-key ${className || ""}`, "aria-hidden": "true" }),
        element("span", { class: "tickbox-name" }, label), amount);
      return { box, value, amount, line };
    });
    function read() {
      const values = boxes.filter(({ box }) => box.checked).map(({ value }) => value);
      return values.length === boxes.length ? null : new Set(values);
    }
    return {
      element: element("fieldset", { class: "facet" }, element("legend", {}, title), boxes.map(({ line }) => line)),
      count(numbers) {
        boxes.forEach(({ value, amount, line }) => {
          amount.textContent = words.count(numbers[value] || 0);
          line.classList.toggle("none", !numbers[value]);
        });
      },
      reset() { boxes.forEach(({ box }) => { box.checked = true; }); },
    };
  }

  function bins(values, low, high) {
    const counts = new Array(N_BINS).fill(0);
    for (const value of values) {
      const place = high > low ? Math.floor(((value - low) / (high - low)) * N_BINS) : 0;
      counts[Math.min(N_BINS - 1, Math.max(0, place))] += 1;
    }
    return counts;
  }

  /** Rounded away from the range's inside, so that what was drawn over stays in. */
  function rounded(value, isLow) {
    const unit = 10 ** (Math.floor(Math.log10(Math.abs(value) || 1)) - 2);
    const whole = isLow ? Math.floor(value / unit) : Math.ceil(value / unit);
    return Number((whole * unit).toPrecision(6));
  }

  /** A histogram to draw a range on, and two numbers. */
  function range(title, bounds, onChange, { note, isLog = false } = {}) {
    const onScale = isLog ? Math.log10 : (v) => v;
    const offScale = isLog ? (v) => 10 ** v : (v) => v;
    let [low, high] = bounds || [null, null];
    let extent = [0, 1];
    const field = (name, which) => element("input", {
      type: "number", step: "any", class: "bound", placeholder: which, "aria-label": `${title}: ${which}`,
      on: { change: () => { read(); onChange([low, high]); } },
    });
    const inputs = [field("low", "least"), field("high", "most")];
    const bars = Array.from({ length: N_BINS }, (_, i) => dvis.svg("rect", { x: i * 8 + 0.5, width: 7 }));
    const picture = dvis.svg("svg", { class: "histogram", viewBox: `0 0 ${N_BINS * 8} 36`, preserveAspectRatio: "none", "aria-hidden": "true" }, bars);
    const clear = button("clear", () => { set([null, null]); onChange([null, null]); }, { class: "plain clear", "aria-label": `Clear ${title}` });
    const remark = element("span", { class: "remark" });

    function read() {
      [low, high] = inputs.map((input) => (input.value === "" ? null : Number(input.value)));
      tint();
    }
    function set(to) {
      [low, high] = to;
      inputs[0].value = low === null ? "" : low;
      inputs[1].value = high === null ? "" : high;
      tint();
    }
    function tint() {
      const width = (extent[1] - extent[0]) / N_BINS;
      bars.forEach((bar, i) => {
        const [from, to] = [extent[0] + i * width, extent[0] + (i + 1) * width].map(offScale);
        bar.classList.toggle("out", (low !== null && to <= low) || (high !== null && from > high));
      });
      clear.hidden = low === null && high === null;
    }
    function draw(values) {
      const known = (values || []).filter((v) => v !== null && v !== undefined && (!isLog || v > 0)).map(onScale);
      remark.textContent = known.length ? "" : (values ? "none known" : note || "");
      picture.toggleAttribute("hidden", !known.length);
      if (!known.length) return;
      extent = known.reduce(([least, most], v) => [Math.min(least, v), Math.max(most, v)], [Infinity, -Infinity]);
      const counts = bins(known, ...extent);
      const most = Math.max(...counts);
      counts.forEach((n, i) => {
        const height = n ? Math.max(2, (n / most) * 34) : 0;
        bars[i].setAttribute("y", 36 - height);
        bars[i].setAttribute("height", height);
      });
      tint();
    }

    let start = null;
    const valueAt = (event) => {
      const box = picture.getBoundingClientRect();
      const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
      return offScale(extent[0] + share * (extent[1] - extent[0]));
    };
    picture.addEventListener("pointerdown", (event) => {
      start = valueAt(event);
      picture.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    picture.addEventListener("pointermove", (event) => {
      if (start === null) return;
      const now = valueAt(event);
      set([rounded(Math.min(start, now), true), rounded(Math.max(start, now), false)]);
    });
    picture.addEventListener("pointerup", () => {
      if (start === null) return;
      start = null;
      onChange([low, high]);
    });
    set([low, high]);
    return {
      element: element("fieldset", { class: "range" }, element("legend", {}, title), remark, clear, picture,
        element("div", { class: "bounds" }, inputs[0], element("span", { "aria-hidden": "true" }, "to"), inputs[1])),
      draw, set,
    };
  }

  dvis.filters = { SORTS, QUANTITIES, parse, text, column, needsDrift, passing, matches, isNoted, isIn, facet, range };
})((window.dvis = window.dvis || {}));
