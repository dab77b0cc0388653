"use strict";

// The shape of a graph: units in columns, which never move, and edges between them as strong as at
// the slider's checkpoint. A node that is pinned keeps its edges, while others fade.
(function (dvis) {
  const { element, svg, words, pictures } = dvis;
  const WIDEST = 11; // pixels of the strongest edge of all checkpoints
  const THINNEST = 0.75; // of one that does next to nothing
  const USUAL = 3; // edges at an end
  const MANY = 14; // nodes of a column: more are drawn smaller
  const LEAST_COLUMN = 150; // pixels; narrower screens scroll
  const HEAD = 26;
  const REST_MS = 120;
  const BEND = 0.45;

  /** Nodes as the address has them: `layer:channel,layer:channel`. */
  const keyOf = (part, node) => `${encodeURIComponent(part.columns[part.column[node]].label)}:${part.channel[node]}`;

  function pinsOf(part, text) {
    const wanted = new Set((text || "").split(","));
    return new Set(part.column.map((_, node) => node).filter((node) => wanted.has(keyOf(part, node))));
  }

  /** Edges among the `k` strongest at an end, from which the root is reached, and their nodes. */
  function chosen(part, k) {
    const edges = part.rank.map((rank, edge) => edge).filter((edge) => part.rank[edge] < k);
    const nodes = new Set([part.root]);
    const shown = new Set();
    for (let size = -1; size !== shown.size;) {
      size = shown.size;
      for (const edge of edges) {
        const [from, to] = [part.source[edge], part.target[edge]];
        if (!nodes.has(to) && from !== part.root) continue;
        shown.add(edge);
        nodes.add(from).add(to);
      }
    }
    return { edges: edges.filter((edge) => shown.has(edge)), nodes: [...nodes].sort((a, b) => a - b) };
  }

  /** Where nodes stand in a box of this width: the same at all checkpoints. */
  function placed(part, nodes, width) {
    const rows = part.columns.map((_, column) => nodes.filter((node) => part.column[node] === column));
    const most = Math.max(...rows.map((row) => row.length));
    const size = most > MANY ? 30 : 48;
    const pitch = size + 22;
    const height = HEAD + most * pitch + 10; // of the last label
    const wide = width / part.columns.length;
    const places = new Map();
    rows.forEach((row, column) => row.forEach((node, i) => {
      places.set(node, { x: (column + 0.5) * wide, y: HEAD + (i + 0.5 + (most - row.length) / 2) * pitch - 8 });
    }));
    return { places, size, height, wide, isUsed: rows.map((row) => row.length > 0) };
  }

  function pathOf(from, to, size) {
    const [x0, x1] = [from.x + size / 2 + 2, to.x - size / 2 - 2];
    const bend = (x1 - x0) * BEND;
    return `M${x0.toFixed(1)} ${from.y.toFixed(1)}C${(x0 + bend).toFixed(1)} ${from.y.toFixed(1)} ${(x1 - bend).toFixed(1)} ${to.y.toFixed(1)} ${x1.toFixed(1)} ${to.y.toFixed(1)}`;
  }

  /** Whose pictures and pages nodes of a column have, null where this page has none. */
  async function homeOf(column, context) {
    const { page, variant, variantIndex, overview, head } = context;
    const run = variant ? variant.run : head && head.run;
    const summary = variant && variant.layers.find((layer) => layer.name === column.layer);
    if (summary && (variant.list || "") === column.list_name) {
      const layer = await dvis.source.read(`layer/${variantIndex}/${summary.index}`).catch(() => null);
      return layer && { layer, summary, href: (channel) => (layer.channels.includes(channel) ? page.href({ view: "unit", layer: summary.name, channel }) : null) };
    }
    const list = column.list_name && overview.lists.find((each) => each.run === run && each.layer === column.layer && each.name === column.list_name);
    return list ? { layer: null, href: (unit) => page.href({ view: "listed", layer: list.layer, name: list.name, unit }) } : null;
  }

  /** Draws pictures of nodes at the slider's checkpoint once it rests. */
  function painter(part, context) {
    let timer = 0;
    let wanted = -1;
    async function paint(cards, homes, index) {
      for (const [node, card] of cards) {
        const home = homes[part.column[node]];
        const position = home && home.layer ? home.layer.channels.indexOf(part.channel[node]) : -1;
        if (position < 0) continue;
        const status = words.STATUS[Number(home.layer.status[index][position])];
        card.root.classList.remove("unpictured");
        card.pin.classList.remove(...words.STATUS);
        card.pin.classList.add(status);
        card.state.textContent = status === "complete" ? "" : status;
        const block = Math.floor(position / pictures.BLOCK);
        const sprite = await pictures.load(pictures.thumbsAddress(context.variantIndex, home.summary.index, home.layer, index, block)).catch(() => null);
        if (!sprite || wanted !== index) continue;
        pictures.drawCell(card.canvas, sprite, position % pictures.BLOCK, 8, pictures.cellSize(sprite, home.layer, block));
        card.root.dataset.drawn = index;
      }
    }
    return (cards, homes, index) => {
      wanted = index;
      window.clearTimeout(timer);
      timer = window.setTimeout(() => paint(cards, homes, index), REST_MS);
    };
  }

  function nodeCard(part, node, { places, size, wide }, onPin) {
    const { label } = part.columns[part.column[node]];
    const name = `${label} ${part.channel[node]}`;
    const canvas = element("canvas", { class: "thumb", width: 1, height: 1, "aria-hidden": "true" });
    const state = element("span", { class: "state" });
    const pin = element("button", { type: "button", class: "graph-pin", id: `pin-${encodeURIComponent(part.title)}-${keyOf(part, node)}`, "aria-label": `Pin ${name}`, "aria-pressed": "false", title: `${name}: pin its edges`, on: { click: () => onPin(node) } },
      element("span", { class: "frame" }, canvas, state, element("span", { class: "graph-number", "aria-hidden": "true" }, part.channel[node])));
    const link = element("a", { class: "graph-link", title: name }, part.channel[node]);
    const { x, y } = places.get(node);
    const root = element("li", { class: `graph-node unpictured${node === part.root ? " root" : ""}`, "data-node": keyOf(part, node),
      style: { left: `${(x - wide / 2).toFixed(1)}px`, top: `${(y - size / 2).toFixed(1)}px`, width: `${wide.toFixed(1)}px`, "--size": `${size}px` } }, pin, link);
    return { root, canvas, state, pin, link, name };
  }

  /** What is to be said of an edge at a checkpoint, null where nothing is known. */
  function numbersOf(part, edge, at) {
    const strength = at === undefined ? null : part.strength[edge][at];
    if (strength === null || strength === undefined) return null;
    return { strength, spread: part.spread[edge][at], direction: part.direction[edge][at], usual: (part.null[part.target[edge]] || [])[at] };
  }

  function verb(part, direction) {
    if (direction === null || direction === undefined) return words.MISSING;
    return `${words.number(direction, 2)}, ${direction < 0 ? part.low_text : part.high_text}`;
  }

  function said(part, names, edge, found) {
    const ends = `${names.get(part.source[edge])} → ${names.get(part.target[edge])}`;
    if (!found) return `${ends}\n${words.UNKNOWN}.`;
    return `${ends}\nstrength ${words.number(found.strength, 3)} ± ${words.number(found.spread, 2)} (${part.spread_text})\n${part.null_text}: ${words.number(found.usual, 3)}\ndirection ${verb(part, found.direction)}`;
  }

  function edgeLines(part, edge, { places, size }) {
    const d = pathOf(places.get(part.source[edge]), places.get(part.target[edge]), size);
    const line = svg("path", { d, class: "graph-line" });
    const title = svg("title");
    const root = svg("g", { class: "graph-edge", "data-edge": edge }, line, svg("path", { d, class: "graph-grip" }), title);
    return { root, line, title };
  }

  /** The same as numbers, for who cannot see widths or wants them exactly. */
  function numbersTable(part) {
    const body = element("tbody");
    const table = element("table", { class: "rows" },
      element("thead", {}, element("tr", {}, ["from", "to", "strength", "±", "median", "direction"].map((name) => element("th", { scope: "col" }, name)))), body);
    return {
      element: element("details", { class: "graph-numbers" }, element("summary", {}, "Numbers"),
        element("p", { class: "quiet" }, `Strength: ${part.strength_text}; ±: ${part.spread_text}; median: ${part.null_text}.`),
        element("div", { class: "scroll-x", tabindex: 0, role: "region", "aria-label": `Numbers of ${part.title}` }, table)),
      show(rows) {
        dvis.replace(body, rows.map(({ from, to, found }) => element("tr", {}, element("td", {}, from), element("td", {}, to),
          (found ? [words.number(found.strength, 3), words.number(found.spread, 2), words.number(found.usual, 3), verb(part, found.direction)] : [words.MISSING, words.MISSING, words.MISSING, words.MISSING]).map((text) => element("td", {}, text)))));
      },
    };
  }

  function legend(part, most) {
    const key = (className, text) => element("li", {}, svg("svg", { width: 26, height: 12, "aria-hidden": "true" }, svg("path", { d: "M0 6H26", class: `graph-line ${className}`, "stroke-width": 4 })), text);
    const scale = svg("svg", { width: 26, height: 14, "aria-hidden": "true" }, svg("path", { d: "M0 7H26", class: "graph-line scale", "stroke-width": WIDEST }));
    return element("ul", { class: "legend" }, key("high", part.high_text), key("low", `${part.low_text} (dashed)`),
      element("li", {}, scale, `strength ${words.number(most, 2)}: ${part.strength_text}`), element("li", {}, "paler: direction nearer 0"));
  }

  /** Nodes and edges of one size and choice, which follow the slider and the pins. */
  function drawing(part, context, { width, k, homes, names, most, onPin }) {
    const { edges, nodes } = chosen(part, k);
    const layout = placed(part, nodes, width);
    const cards = new Map(nodes.map((node) => [node, nodeCard(part, node, layout, onPin)]));
    const lines = new Map(edges.map((edge) => [edge, edgeLines(part, edge, layout)]));
    for (const [node, card] of cards) {
      const home = homes[part.column[node]];
      const href = home && node !== part.root ? home.href(part.channel[node]) : null;
      if (href) card.link.setAttribute("href", href);
    }
    const heads = part.columns.map((column, i) => (layout.isUsed[i] ? element("span", { class: "graph-head", title: column.label, style: { left: `${(i * layout.wide).toFixed(1)}px`, width: `${layout.wide.toFixed(1)}px` } }, column.label) : null));
    const root = element("div", { class: "graph-box", style: { width: `${width}px`, height: `${layout.height}px` } },
      svg("svg", { class: "graph-edges", width, height: layout.height, "aria-hidden": "true" }, [...lines.values()].map((each) => each.root)),
      heads, element("ul", { class: "graph-nodes", "aria-label": part.title }, [...cards.values()].map((card) => card.root)));

    function showEdges(at, pins) {
      const rows = [];
      for (const [edge, { root: group, line, title }] of lines) {
        const found = numbersOf(part, edge, at);
        const isHeld = !pins.size || pins.has(part.source[edge]) || pins.has(part.target[edge]);
        line.setAttribute("stroke-width", found ? (THINNEST + ((WIDEST - THINNEST) * found.strength) / most).toFixed(2) : 0);
        const direction = found ? found.direction : null;
        line.setAttribute("class", `graph-line ${direction === null ? "unknown" : direction < 0 ? "low" : "high"}`);
        line.setAttribute("stroke-opacity", (0.4 + 0.55 * Math.abs(direction ?? 0)).toFixed(2));
        group.setAttribute("class", `graph-edge${isHeld ? "" : " faded"}`);
        title.textContent = said(part, names, edge, found);
        if (isHeld) rows.push({ from: names.get(part.source[edge]), to: names.get(part.target[edge]), found });
      }
      for (const [node, card] of cards) {
        const isNear = !pins.size || pins.has(node) || edges.some((edge) => (part.source[edge] === node && pins.has(part.target[edge])) || (part.target[edge] === node && pins.has(part.source[edge])));
        card.pin.setAttribute("aria-pressed", String(pins.has(node)));
        card.root.classList.toggle("pinned", pins.has(node));
        card.root.classList.toggle("faded", !isNear);
      }
      return rows;
    }
    return { root, cards, showEdges };
  }

  /** A card with the graph; `card` makes it of a part, a note and a content. */
  function graph(part, context, card) {
    const { page, place, checkpoints } = context;
    const rows = new Map(part.checkpoints.map((label, i) => [label, i]));
    const names = new Map(part.column.map((column, node) => [node, `${part.columns[column].label} ${part.channel[node]}`]));
    const most = Math.max(1e-12, ...part.strength.flat().map((v) => v ?? 0));
    const largest = Math.max(...part.rank) + 1;
    const asked = Number(place.query.get("k"));
    let k = Math.min(largest, Number.isInteger(asked) && asked > 0 ? asked : USUAL);
    let pins = pinsOf(part, place.query.get("pins"));
    let index = context.checkpoint;
    let homes = part.columns.map(() => null);
    let drawn = null;
    const paint = painter(part, context);
    const table = numbersTable(part);
    const remark = element("p", { class: "quiet graph-said" });

    function show() {
      const at = rows.get(checkpoints[index].label);
      remark.textContent = (part.said || [])[at] || "";
      if (!drawn) return;
      table.show(drawn.showEdges(at, pins));
      paint(drawn.cards, homes, index);
      content.dataset.shown = index;
    }

    function pin(node) {
      pins = new Set(pins);
      if (!pins.delete(node)) pins.add(node);
      page.update({ pins: [...pins].sort((a, b) => a - b).map((each) => keyOf(part, each)).join(",") });
      unpin.disabled = !pins.size;
      dvis.announce(`${names.get(node)} ${pins.has(node) ? "pinned" : "no longer pinned"}`);
      show();
    }

    const area = dvis.fitted("graph-area", (width) => {
      const wide = Math.max(width, part.columns.length * LEAST_COLUMN);
      drawn = drawing(part, context, { width: wide, k, homes, names, most, onPin: pin });
      show();
      return drawn.root;
    });
    const unpin = dvis.button("Unpin all", () => {
      pins = new Set();
      page.update({ pins: null });
      unpin.disabled = true;
      show();
    }, { class: "action", disabled: !pins.size });
    const counts = Array.from({ length: largest }, (_, i) => [String(i + 1), String(i + 1)]);
    const count = dvis.choice("Strongest of each", counts, String(k), (text) => {
      k = Number(text);
      page.update({ k: k === USUAL ? null : k });
      area.redraw();
      page.relink();
    }, { id: `strongest-${encodeURIComponent(part.title)}` });
    const content = element("div", { class: "graph" }, element("div", { class: "graph-tools" }, count, unpin),
      element("div", { class: "scroll-x", tabindex: 0, role: "region", "aria-label": part.title }, area.element),
      legend(part, most), remark, table.element);
    Promise.all(part.columns.map((column) => homeOf(column, context))).then((found) => {
      homes = found;
      area.redraw();
      page.relink();
    });
    show();
    return { element: card(part, part.note, content), moveTo(to) { index = to; show(); } };
  }

  dvis.graph = graph;
})((window.dvis = window.dvis || {}));
