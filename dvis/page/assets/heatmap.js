"use strict";

// A matrix over checkpoints as coloured cells, with a cursor over its columns.
(function (dvis) {
  const { element, svg, words } = dvis;
  // Viridis, and a diverging scale about zero; both even to the eye and to the colour-blind.
  const RISING = [[68, 1, 84], [72, 40, 120], [62, 74, 137], [49, 104, 142], [38, 130, 142], [31, 158, 137], [53, 183, 121], [110, 206, 88], [181, 222, 43], [253, 231, 37]];
  const DIVERGING = [[33, 102, 172], [103, 169, 207], [209, 229, 240], [247, 247, 247], [253, 219, 199], [239, 138, 98], [178, 24, 43]];
  const TOP = 6;
  const BOTTOM = 36;
  const MAX_NAME = 22;

  function colour(stops, share) {
    const at = Math.max(0, Math.min(1, share)) * (stops.length - 1);
    const i = Math.min(stops.length - 2, Math.floor(at));
    return stops[i].map((v, c) => Math.round(v + (stops[i + 1][c] - v) * (at - i)));
  }

  function scaleOf(rows) {
    const known = rows.flat().filter((v) => v !== null && v !== undefined);
    let low = known.length ? Math.min(...known) : 0;
    let high = known.length ? Math.max(...known) : 1;
    const isDiverging = low < 0 && high > 0;
    if (isDiverging) {
      high = Math.max(high, -low);
      low = -high;
    }
    const stops = isDiverging ? DIVERGING : RISING;
    const share = (v) => (high > low ? (v - low) / (high - low) : 0.5);
    return { low, high, stops, of: (v) => colour(stops, share(v)) };
  }

  function painted(rows, nColumns, scale) {
    const canvas = element("canvas", { width: nColumns, height: rows.length, class: "heatmap-cells", "aria-hidden": "true" });
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(nColumns, rows.length);
    rows.forEach((row, y) => {
      row.forEach((value, x) => {
        if (value === null || value === undefined) return;
        pixels.data.set([...scale.of(value), 255], 4 * (y * nColumns + x));
      });
    });
    context.putImageData(pixels, 0, 0);
    return canvas;
  }

  function key(scale) {
    const canvas = element("canvas", { width: 64, height: 1, class: "key-ramp", "aria-hidden": "true" });
    const context = canvas.getContext("2d");
    for (let x = 0; x < 64; x += 1) {
      context.fillStyle = `rgb(${colour(scale.stops, x / 63).join(",")})`;
      context.fillRect(x, 0, 1, 1);
    }
    return element("span", { class: "key" }, words.number(scale.low, 3), canvas, words.number(scale.high, 3));
  }

  /**
   * `rows` [row][column], `names` of the rows, `checkpoints` of the columns. `moveTo(column)` moves
   * the cursor; `onPick(column)` on a click.
   */
  function heatmap({ rows, names, checkpoints, rowTitle, label, cursor, onPick, markDiagonal = false }) {
    const scale = scaleOf(rows);
    const text = element("p", { class: "heatmap-readout", "aria-live": "off" });
    let current = cursor;
    let move = () => {};
    const longest = Math.max(...names.map((name) => Math.min(MAX_NAME, name.length)), 2);
    const pitch = Math.max(6, Math.min(20, 320 / rows.length));

    const box = dvis.fitted("heatmap-box", (width) => {
      const left = Math.min(width * 0.4, longest * 6.6 + 12);
      const height = Math.round(pitch * rows.length);
      const column = (width - left - 2) / checkpoints.length;
      const centre = (x) => left + (x + 0.5) * column;
      const everyRow = Math.ceil(12 / pitch);
      const everyColumn = Math.ceil(46 / column);
      const canvas = painted(rows, checkpoints.length, scale);
      canvas.style.left = `${left}px`;
      canvas.style.top = `${TOP}px`;
      canvas.style.width = `${column * checkpoints.length}px`;
      canvas.style.height = `${height}px`;
      const cursorBox = svg("rect", { class: "heatmap-cursor", y: TOP - 2, width: column, height: height + 4, rx: 2 });
      const picture = svg("svg", { class: "plot", width, height: height + TOP + BOTTOM, role: "img", "aria-label": label },
        names.map((name, y) => y % everyRow === 0 && svg("text", { class: "tick", x: left - 6, y: TOP + (y + 0.5) * pitch + 3.5, "text-anchor": "end" }, words.shortened(name, MAX_NAME))),
        checkpoints.map((c, x) => x % everyColumn === 0 && svg("text", { class: "tick", x: centre(x), y: TOP + height + 14, "text-anchor": "middle" }, words.tick(c))),
        svg("text", { class: "axis-title", x: width - 2, y: TOP + height + 31, "text-anchor": "end" }, "measured at checkpoint"),
        svg("text", { class: "axis-title", x: 0, y: TOP + height + 31 }, `rows: ${rowTitle}`),
        markDiagonal ? svg("path", { class: "diagonal", d: `M${left} ${TOP}L${left + column * checkpoints.length} ${TOP + height}` }) : null,
        cursorBox);
      const describe = (x, y) => {
        if (x === null) { text.textContent = ""; return; }
        if (y === null) {
          text.textContent = words.moment(checkpoints[x]);
          return;
        }
        text.textContent = `${words.moment(checkpoints[x])} · ${words.shortened(names[y], 40)}: ${words.number(rows[y][x])}`;
      };
      move = (x) => {
        cursorBox.setAttribute("visibility", x === null ? "hidden" : "visible");
        if (x !== null) cursorBox.setAttribute("x", left + x * column);
        describe(x, null);
      };
      const place = (event) => {
        const bounds = picture.getBoundingClientRect();
        const x = Math.floor((event.clientX - bounds.left - left) / column);
        const y = Math.floor((event.clientY - bounds.top - TOP) / pitch);
        const isIn = x >= 0 && x < checkpoints.length && y >= 0 && y < rows.length;
        return isIn ? [x, y] : null;
      };
      picture.addEventListener("pointermove", (event) => { const at = place(event); if (at) describe(...at); });
      picture.addEventListener("pointerleave", () => describe(current, null));
      picture.addEventListener("click", (event) => { const at = place(event); if (at && onPick) onPick(at[0]); });
      move(current);
      return [canvas, picture];
    });
    return {
      element: element("div", { class: "heatmap" }, element("div", { class: "heatmap-head" }, text, key(scale)), box.element),
      moveTo(x) { current = x; move(x); },
    };
  }

  dvis.heatmap = heatmap;
})((window.dvis = window.dvis || {}));
