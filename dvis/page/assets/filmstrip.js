"use strict";

// A unit's images over their places on the axis of checkpoints: as many as there is room for.
(function (dvis) {
  const { element, svg, words, pictures } = dvis;
  const GAP = 6;
  const SMALLEST = 72;
  const LARGEST = 128;
  const LEADERS = 22;

  /** As many places as fit, far from each other, always the first and the last. */
  function chosen(places, positions, n) {
    if (places.length <= n) return places;
    const low = positions[places[0]];
    const high = positions[places[places.length - 1]];
    const taken = new Set();
    for (let i = 0; i < n; i += 1) {
      const target = low + ((high - low) * i) / Math.max(1, n - 1);
      const free = places.filter((place) => !taken.has(place));
      taken.add(free.reduce((best, place) => (Math.abs(positions[place] - target) < Math.abs(positions[best] - target) ? place : best)));
    }
    return places.filter((place) => taken.has(place));
  }

  /** Centres of frames at least `pitch` apart and within bounds, near to where they belong. */
  function spread(wanted, pitch, low, high) {
    const centres = wanted.slice();
    centres.forEach((_, i) => {
      centres[i] = Math.max(centres[i], i ? centres[i - 1] + pitch : low);
    });
    for (let i = centres.length - 1; i >= 0; i -= 1) {
      centres[i] = Math.min(centres[i], i < centres.length - 1 ? centres[i + 1] - pitch : high);
    }
    return centres;
  }

  function frameSize(n, width) {
    const fitting = Math.floor(width / Math.max(1, n)) - GAP;
    if (fitting >= SMALLEST) return { size: Math.min(LARGEST, fitting), rows: 1 };
    return { size: Math.min(SMALLEST + 12, Math.max(56, Math.floor(width / 5) - GAP)), rows: 2 };
  }

  /** `strip` is the decoded sprite of all checkpoints, `cell` its {columns, cell_width, cell_height}. */
  function filmstrip({ width, checkpoints, kind, strip, cell, status, cursor, onPick, maxRows = 2, hasAxis = true }) {
    const axis = dvis.plot.axisFor(checkpoints, kind, width);
    const known = checkpoints.map((_, i) => i).filter((i) => axis.positions[i] !== null);
    known.sort((i, j) => axis.positions[i] - axis.positions[j]);
    const { size, rows: wantedRows } = frameSize(known.length, width);
    const rows = Math.min(wantedRows, maxRows);
    const stagger = rows > 1 ? (size + GAP) / 2 : 0; // a leader of the upper row passes between two frames
    const perRow = Math.max(1, Math.floor((width - stagger + GAP) / (size + GAP)));
    const places = chosen(known, axis.positions, perRow * rows);
    const height = Math.round((size * cell.cell_height) / cell.cell_width);
    const total = rows * (height + GAP) + (hasAxis ? LEADERS : 18);
    const leaders = svg("svg", { class: "leaders", width, height: total, "aria-hidden": "true" });
    const root = element("div", { class: "film", role: "group", "aria-label": "Images at their checkpoints", style: { height: `${total}px` } }, leaders);
    const frames = new Map();
    for (let row = 0; row < rows; row += 1) {
      const mine = places.filter((_, i) => i % rows === row);
      const centres = spread(mine.map((i) => axis.positions[i]), size + GAP, size / 2 + row * stagger, width - size / 2 - (rows - 1 - row) * stagger);
      mine.forEach((place, i) => {
        const top = row * (height + GAP);
        const frame = frameOf(place, centres[i], top);
        frames.set(place, frame);
        root.append(frame.button);
        leaders.append(frame.leader);
      });
    }

    function frameOf(place, centre, top) {
      const name = words.STATUS[Number(status[place])];
      const canvas = element("canvas", { width: cell.cell_width, height: cell.cell_height, "aria-hidden": "true" });
      if (strip && !["absent", "failed", "dead"].includes(name)) {
        pictures.drawCell(canvas, strip, place, cell.columns, { width: cell.cell_width, height: cell.cell_height });
      }
      const button = element("button", {
        type: "button", class: `frame-button ${name}`, tabindex: -1, title: words.when(checkpoints[place]) || checkpoints[place].label,
        "aria-label": `${words.moment(checkpoints[place])}${name === "complete" ? "" : `, ${name}`}`, "data-checkpoint": place,
        style: { left: `${centre - size / 2}px`, top: `${top}px`, width: `${size}px`, height: `${height}px` },
        on: { click: () => onPick(place) },
      }, canvas, name === "complete" ? null : element("span", { class: "state" }, name));
      if (!hasAxis) {
        const text = svg("text", { class: "leader-name", x: centre, y: top + height + 15, "text-anchor": "middle" }, words.tick(checkpoints[place]));
        return { button, leader: text };
      }
      const at = axis.positions[place];
      const leader = svg("path", { class: "leader", d: `M${centre.toFixed(1)} ${top + height + 1}V${total - LEADERS + 5}L${at.toFixed(1)} ${total}` });
      return { button, leader };
    }

    function moveTo(index) {
      for (const [place, frame] of frames) {
        frame.button.classList.toggle("current", place === index);
        frame.leader.classList.toggle("current", place === index);
      }
    }
    moveTo(cursor);
    return { element: root, moveTo, n: places.length };
  }

  dvis.filmstrip = filmstrip;
})((window.dvis = window.dvis || {}));
