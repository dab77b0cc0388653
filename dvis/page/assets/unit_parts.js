"use strict";

// What a unit's page is made of: its large image, trajectory, numbers, relatives.
(function (dvis) {
  const { element, button, words, pictures } = dvis;
  const N_ALIKE = 8;
  const LEAST_COMMON = 3;

  /** A layer's activation over checkpoints, as small as a side bar. */
  function layerTrend(summary, checkpoints, checkpoint, kind, noun) {
    let panel = null;
    const holder = dvis.fitted("trend", (width) => {
      panel = dvis.plot.panel({
        width, height: 128, checkpoints, kind, cursor: current, withZero: true,
        title: "Activation", label: `Median activation of ${summary.name} over checkpoints, with the middle half of its ${noun}s`,
        series: [{ name: "median", values: summary.median, className: "series-0" }],
        band: { low: summary.q25, high: summary.q75 },
      });
      return panel.element;
    });
    let current = checkpoint;
    return { element: holder.element, moveTo(index) { current = index; if (panel) panel.moveTo(index); } };
  }

  /** The image at one checkpoint: the strip's cell at once, the stored image as soon as it is there. */
  function largeImage({ alternative, onOpen = null }) {
    const canvas = element("canvas", { class: "large", width: 1, height: 1, role: "img" });
    const state = element("span", { class: "state" });
    const frame = onOpen
      ? element("button", { type: "button", class: "large-frame", id: "large", title: "All its images in full (Enter)", on: { click: () => onOpen(frame) } }, canvas, state)
      : element("div", { class: "large-frame" }, canvas, state);
    let turn = 0;
    async function show({ index, status, hasImage, strip, cell, address }) {
      turn += 1;
      const mine = turn;
      const name = words.STATUS[Number(status)];
      frame.className = `large-frame ${name}`;
      state.textContent = name === "complete" ? "" : name;
      canvas.setAttribute("aria-label", alternative(index, name));
      frame.dataset.checkpoint = index;
      canvas.hidden = !hasImage;
      if (!hasImage) return;
      if (strip) pictures.drawCell(canvas, strip, index, cell.columns, { width: cell.cell_width, height: cell.cell_height });
      canvas.classList.toggle("pixelated", cell.cell_width < 48);
      if (!address) return;
      try {
        const image = await pictures.load(address);
        if (mine !== turn) return;
        canvas.width = image.naturalWidth;
        canvas.height = image.naturalHeight;
        canvas.getContext("2d").drawImage(image, 0, 0);
        frame.dataset.full = index;
      } catch {
        // The strip's cell stays: the image is damaged, or the store has changed.
      }
    }
    return { element: frame, show };
  }

  /** Facts that follow the slider: activation, range of values, seed and so on. */
  function facts(unit) {
    const rows = [["activation", "activation"], ["value_min", "value of level 0"], ["value_max", "value of level 255"], ["stop_step", "stopped at step"], ["seed", "seed"],
      ["reference_mean", "mean of reference images"], ["reference_sd", "their standard deviation"], ["reference_max", "best of them"], ["constant_max", "best of black, grey and white"]]
      .filter(([name]) => name in unit);
    const cells = rows.map(() => element("dd"));
    const state = element("dd");
    const problem = element("p", { class: "fault", hidden: true });
    const against = element("p", { class: "quiet held-against", hidden: true });
    const list = element("dl", { class: "facts" }, element("dt", {}, "state"), state,
      rows.map(([, text], i) => [element("dt", {}, text), cells[i]]));
    return {
      element: element("div", {}, list, against, problem),
      moveTo(index) {
        dvis.replace(against, heldAgainst(unit, index));
        against.hidden = !against.childElementCount;
        state.textContent = words.STATUS[Number(unit.status[index])];
        rows.forEach(([name], i) => {
          const value = unit[name][index];
          const isWhole = name === "stop_step" || name === "seed";
          cells[i].textContent = isWhole && value !== null ? words.count(value) : words.number(value);
        });
        problem.textContent = (unit.problems && unit.problems[index]) || "";
        problem.hidden = !problem.textContent;
      },
    };
  }

  /** The activation and what it is held against: floors, held-out views, neighbours, seeds. */
  function heldAgainst(unit, index) {
    const known = (unit.compared || []).filter(({ values }) => values[index] !== null && values[index] !== undefined);
    if (!known.length || unit.activation[index] === null) return [];
    const said = [element("span", {}, `activation ${words.number(unit.activation[index])}`)];
    let before = "";
    for (const { group, name, title, values } of known) {
      const start = group && group === before ? ", " : `; ${group ? `${group}: ` : ""}`;
      said.push(element("span", { title }, `${start}${name} ${words.number(values[index])}`));
      before = group;
    }
    return said;
  }

  /** What somebody wrote about the unit, and, where it may be written, a field for it. */
  function note(unit, path) {
    if (!dvis.source.canWrite) return unit.note ? element("p", { class: "unit-note" }, unit.note) : null;
    const field = element("input", { type: "text", class: "note-field", value: unit.note, maxlength: "2000", placeholder: "What is it? Write a note", "aria-label": "Note about this unit" });
    const state = element("span", { class: "quiet", role: "status" });
    let sent = unit.note;
    async function keep() {
      const text = field.value.trim();
      if (text === sent) return;
      sent = text;
      try {
        const told = await dvis.source.write(`note/${path}`, { text });
        state.textContent = told.note ? "kept" : "taken away";
        dvis.page.expect(told.signature);
      } catch (error) {
        sent = null;
        state.textContent = `not kept: ${error.message}`;
      }
    }
    field.addEventListener("change", keep);
    return element("form", { class: "unit-note", on: { submit: (event) => { event.preventDefault(); keep(); } } }, field, state);
  }

  function valueText(value) {
    if (value === null || value === undefined) return "none";
    if (typeof value === "boolean") return value ? "yes" : "no";
    if (Array.isArray(value)) return value.map(valueText).join(", ") || "none";
    if (typeof value === "number") return words.number(value, 6);
    if (typeof value === "object") return JSON.stringify(value);
    return String(value) || "none";
  }

  /** Recorded parameters at the slider's checkpoint. */
  function parameters(unit) {
    const body = element("dl", { class: "facts parameters" });
    const none = element("p", { class: "quiet" }, "None are recorded here.");
    let shown;
    return {
      element: element("div", {}, body, none),
      moveTo(index) {
        const which = unit.params[index];
        if (which === shown) return;
        shown = which;
        const table = which === null ? null : unit.parameters[which];
        none.hidden = Boolean(table);
        dvis.replace(body, table ? Object.entries(table).map(([name, value]) => element("div", {}, element("dt", {}, name.replace(/_/g, " ")), element("dd", {}, valueText(value)))) : null);
      },
    };
  }

  /** Correlation of two trajectories where both are known; null where that says nothing. */
  function correlation(one, other) {
    const places = one.map((_, i) => i).filter((i) => one[i] !== null && other[i] !== null);
    if (places.length < LEAST_COMMON) return null;
    const mean = (values) => places.reduce((sum, i) => sum + values[i], 0) / places.length;
    const [a, b] = [mean(one), mean(other)];
    let [ab, aa, bb] = [0, 0, 0];
    for (const i of places) {
      ab += (one[i] - a) * (other[i] - b);
      aa += (one[i] - a) ** 2;
      bb += (other[i] - b) ** 2;
    }
    return aa > 0 && bb > 0 ? ab / Math.sqrt(aa * bb) : null;
  }

  /** Positions of the channels of the layer whose trajectories are most alike. */
  function alike(layer, position) {
    const trajectory = (i) => layer.activation.map((row, k) => (layer.status[k][i] === "1" ? row[i] : null));
    const mine = trajectory(position);
    return layer.channels
      .map((_, i) => ({ position: i, r: i === position ? null : correlation(mine, trajectory(i)) }))
      .filter(({ r }) => r !== null)
      .sort((a, b) => b.r - a.r)
      .slice(0, N_ALIKE);
  }

  /** Small pictures of other units, at the slider's checkpoint once it rests. */
  function relatives({ variant, layerIndex, layer, items, href }) {
    const cards = items.map(({ position, text, title }) => {
      const canvas = element("canvas", { class: "thumb", width: 1, height: 1, "aria-hidden": "true" });
      const state = element("span", { class: "state" });
      const frame = element("span", { class: "frame" }, canvas, state);
      const link = element("a", { class: "cell relative", href: href(layer.channels[position]), title },
        frame, element("span", { class: "caption" }, element("span", { class: "cell-name" }, layer.channels[position]), element("span", { class: "cell-number" }, text)));
      return { position, canvas, state, link };
    });
    let wanted = -1;
    let timer = 0;
    async function draw(index) {
      for (const card of cards) {
        const status = words.STATUS[Number(layer.status[index][card.position])];
        card.link.classList.remove(...words.STATUS);
        card.link.classList.add(status);
        card.state.textContent = status === "complete" ? "" : status;
        const block = Math.floor(card.position / pictures.BLOCK);
        const sprite = await pictures.load(pictures.thumbsAddress(variant, layerIndex, layer, index, block)).catch(() => null);
        if (!sprite || wanted !== index) continue;
        pictures.drawCell(card.canvas, sprite, card.position % pictures.BLOCK, 8, pictures.cellSize(sprite, layer, block));
      }
    }
    return {
      element: element("div", { class: "relatives" }, cards.map((card) => card.link)),
      moveTo(index) {
        wanted = index;
        window.clearTimeout(timer);
        timer = window.setTimeout(() => draw(index), 120);
      },
    };
  }

  async function copy(text, node) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const selection = window.getSelection();
      selection.selectAllChildren(node);
      document.execCommand("copy");
    }
  }

  /** A line of Python, and a button that copies it. */
  function pythonLine(text) {
    const code = element("code", {}, text);
    const copied = button("Copy", async () => {
      await copy(text, code);
      copied.textContent = "Copied";
      dvis.announce("Copied");
      window.setTimeout(() => { copied.textContent = "Copy"; }, 1500);
    }, { class: "copy" });
    return element("div", { class: "python" }, element("pre", { tabindex: 0, "aria-label": "Python" }, code), copied);
  }

  function quoted(value) {
    if (value === null || value === undefined) return "";
    // A text that no spreadsheet takes for a formula.
    const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
    return /[",\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
  }

  /** The unit's numbers as CSV, made here where there is no server. */
  function csv(unit, checkpoints) {
    const header = ["checkpoint", "epoch", "phase", "batch", "step", "time", "status", "activation", "value_min", "value_max", "stop_step", "seed"];
    const lines = checkpoints.map((c, i) => [c.label, c.epoch, c.phase, c.batch, c.step, c.time, words.STATUS[Number(unit.status[i])],
      unit.activation[i], unit.value_min[i], unit.value_max[i], unit.stop_step[i], unit.seed[i]].map(quoted).join(","));
    return `${[header.join(","), ...lines].join("\n")}\n`;
  }

  function downloads({ unit, checkpoints, name, stripAddress, path }) {
    const safe = name.replace(/[^\w.-]+/g, "_").slice(0, 80);
    if (dvis.source.isLive) {
      return element("p", { class: "downloads" },
        element("a", { class: "action", href: `archive/${path}`, download: `${safe}.zip` }, "Images and numbers (zip)"),
        element("a", { class: "action", href: `numbers/${path}`, download: `${safe}.csv` }, "Numbers (csv)"));
    }
    const file = URL.createObjectURL(new Blob([csv(unit, checkpoints)], { type: "text/csv" }));
    return [element("p", { class: "downloads" },
      element("a", { class: "action", href: stripAddress, download: `${safe}${stripAddress.slice(stripAddress.lastIndexOf("."))}` }, "All images (one picture)"),
      element("a", { class: "action", href: file, download: `${safe}.csv` }, "Numbers (csv)")),
    element("p", { class: "quiet" }, `The picture holds the images ${unit.strip.suffix === "jpg" ? "scaled down and compressed anew" : "of all checkpoints side by side"}; each as it is stored comes from the store itself, by dvis view or in Python.`)];
  }

  dvis.unitParts = { layerTrend, largeImage, note, facts, parameters, alike, relatives, pythonLine, downloads, csv, correlation };
})((window.dvis = window.dvis || {}));
