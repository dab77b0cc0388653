"use strict";

// Maps of units over training: a point a unit, on axes that stay; a slider moves the points.
(function (dvis) {
  const { element, svg, button, words, source, filters } = dvis;
  const SIZE = 640; // of the drawing, in its own units
  const MARGIN = 12;
  const MOST_COLORS = 8;
  const MOST_LISTED = 200;
  const LEAST_LASSO = 12; // px of a drag; what is shorter is a click
  const NONE = "none";
  const OTHERS = "others";

  const runOf = (overview, place) => place.query.get("run") || (overview.default && overview.default.run) || (overview.maps[0] || {}).run;

  /** The head of the map that an address names. */
  async function read(overview, place) {
    const run = runOf(overview, place);
    const ofRun = overview.maps.filter((each) => each.run === run);
    const found = ofRun.find((each) => each.name === place.name);
    if (found) return source.read(`map/${found.number}`);
    const there = ofRun.map((each) => each.name).join(", ") || `none. ${overview.maps_need}`;
    throw new Error(`There is no map ${JSON.stringify(place.name)} in run ${JSON.stringify(run)}. Maps: ${there}`);
  }

  const hrefOf = (context, each) => context.page.href({ view: "map", name: each.name }, { run: context.page.runInAddress(each.run), variant: null });

  /** Maps of the context's run, as a card of links; else what makes one possible. */
  function card(context) {
    const run = context.variant ? context.variant.run : null;
    const maps = context.overview.maps.filter((each) => run === null || each.run === run);
    return element("section", { class: "card maps-card", "aria-labelledby": "maps" }, element("h2", { id: "maps" }, "Maps of units over training"),
      maps.length ? element("ul", { class: "list-links" }, maps.map((each) => element("li", {}, element("a", { class: "list-link map-link", href: hrefOf(context, each) },
        element("strong", {}, each.name), element("span", { class: "about" }, `a point a ${each.noun}`))))) : element("p", { class: "quiet" }, context.overview.maps_need));
  }

  function trail(context) {
    const { page, overview, head } = context;
    const maps = overview.maps.filter((each) => each.run === head.run);
    const go = (number) => page.go(hrefOf(context, maps.find((each) => String(each.number) === number)));
    return [dvis.choice("Map", maps.map((each) => [String(each.number), each.name]), String(head.number), go, { id: "map" })];
  }

  /** Chosen units in the address: `0:1,3-5;1:0`, places of layers and numbers of units. */
  function textOf(head, places) {
    const ofLayers = new Map();
    for (const place of [...places].sort((a, b) => head.units[a] - head.units[b])) {
      const layer = head.layer[place];
      if (!ofLayers.has(layer)) ofLayers.set(layer, []);
      const ranges = ofLayers.get(layer);
      const unit = head.units[place];
      const last = ranges[ranges.length - 1];
      if (last && last[1] === unit - 1) last[1] = unit;
      else ranges.push([unit, unit]);
    }
    return [...ofLayers].sort(([a], [b]) => a - b)
      .map(([layer, ranges]) => `${layer}:${ranges.map(([from, to]) => (from === to ? from : `${from}-${to}`)).join(",")}`).join(";");
  }

  function placesOf(head, text) {
    if (!text) return null;
    const wanted = new Map();
    for (const part of text.split(";")) {
      const [layer, list = ""] = part.split(":");
      wanted.set(Number(layer), list);
    }
    return new Set(head.units.map((_, place) => place).filter((place) => {
      const list = wanted.get(head.layer[place]);
      return list !== undefined && filters.matches(head.units[place], `${list},`);
    }));
  }

  /** Whether a place lies in a polygon: a ray from it crosses its edge an odd number of times. */
  function isInside(x, y, polygon) {
    let isIn = false;
    for (let i = 0, j = polygon.length - 1; i < polygon.length; j = i, i += 1) {
      const [[xi, yi], [xj, yj]] = [polygon[i], polygon[j]];
      if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) isIn = !isIn;
    }
    return isIn;
  }

  /** What units can be coloured by: for each a text a unit, and names in the order of the legend. */
  function colorings(head, checkpoints) {
    const all = {};
    if (head.classes.length) all.class = { title: "class most responded to", text: (place, at) => head.classes[at.best_class[place]] || "" };
    if (head.birth) all.birth = { title: "birth", isOrdered: true, order: (place) => head.birth[place], text: (place) => (head.birth[place] === null ? "" : words.moment(checkpoints[head.birth[place]])) };
    if (head.layers.length > 1) all.layer = { title: "layer", isOrdered: true, order: (place) => head.layer[place], text: (place) => head.layers[head.layer[place]] };
    if (Object.keys(head.notes).length) all.note = { title: "note", text: (place) => head.notes[place] || "" };
    return all;
  }

  /** A class of the style for each unit, and the legend. */
  function colored(head, coloring, at) {
    if (!coloring) return { classes: head.units.map(() => "hue-none"), legend: [] };
    const texts = head.units.map((_, place) => coloring.text(place, at));
    const counts = new Map();
    texts.forEach((text) => { if (text) counts.set(text, (counts.get(text) || 0) + 1); });
    const names = [...counts.keys()];
    const first = new Map(names.map((name) => [name, texts.indexOf(name)]));
    if (coloring.isOrdered) names.sort((a, b) => coloring.order(first.get(a)) - coloring.order(first.get(b)));
    else names.sort((a, b) => counts.get(b) - counts.get(a) || a.localeCompare(b));
    const hue = coloring.isOrdered
      ? (i) => `depth-${Math.round((i / Math.max(1, names.length - 1)) * (MOST_COLORS - 1))}`
      : (i) => (i < MOST_COLORS ? `hue-${i}` : "hue-none");
    const ofNames = new Map(names.map((name, i) => [name, hue(i)]));
    const shown = coloring.isOrdered && names.length > MOST_COLORS ? [names[0], names[names.length >> 1], names[names.length - 1]] : names.slice(0, coloring.isOrdered ? names.length : MOST_COLORS);
    const legend = shown.map((name) => [ofNames.get(name), words.shortened(name, 24)]);
    const hasRest = texts.some((text) => !text || ofNames.get(text) === "hue-none");
    if (hasRest) legend.push(["hue-none", names.length > MOST_COLORS && !coloring.isOrdered ? OTHERS : NONE]);
    return { classes: texts.map((text) => ofNames.get(text) || "hue-none"), legend };
  }

  /** The drawing: points that move, and a lasso around some of them. */
  function drawing({ head, nameOf, hrefTo, onLasso, onHover }) {
    const scale = (SIZE / 2 - MARGIN) / (head.reach || 1);
    const circles = head.units.map((_, place) => svg("circle", { r: head.units.length > 500 ? 3.5 : 5, class: "point", "data-place": place }));
    const lasso = svg("polygon", { class: "lasso", points: "" });
    const root = svg("svg", { class: "unit-map", viewBox: `0 0 ${SIZE} ${SIZE}`, role: "img", "aria-label": `Map of ${words.counted(head.units.length, head.noun)}; the list beside it has the same units` },
      svg("path", { class: "axis", d: `M0 ${SIZE / 2}H${SIZE}M${SIZE / 2} 0V${SIZE}` }), circles, lasso);
    const at = head.units.map(() => null);
    let path = null;
    let start = null;
    const local = (event) => {
      const box = root.getBoundingClientRect();
      return [((event.clientX - box.left) / box.width) * SIZE, ((event.clientY - box.top) / box.height) * SIZE];
    };
    const placeAt = (event) => (event.target instanceof Element && event.target.matches(".point") ? Number(event.target.dataset.place) : null);
    root.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      path = [local(event)];
      start = { x: event.clientX, y: event.clientY, place: placeAt(event) };
      root.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    root.addEventListener("pointermove", (event) => {
      if (!path) {
        onHover(placeAt(event));
        return;
      }
      path.push(local(event));
      lasso.setAttribute("points", path.map((point) => point.map((v) => v.toFixed(1)).join(",")).join(" "));
    });
    root.addEventListener("pointerleave", () => onHover(null));
    function end(event) {
      if (!path) return;
      const drawn = path;
      path = null;
      lasso.setAttribute("points", "");
      const reach = Math.max(...drawn.map(([x, y]) => Math.hypot(x - drawn[0][0], y - drawn[0][1])));
      if (event.type === "pointercancel") return;
      if (reach >= LEAST_LASSO) onLasso(at.flatMap((point, place) => (point && !circles[place].classList.contains("out") && isInside(...point, drawn) ? [place] : [])));
      else if (start.place !== null) dvis.page.go(hrefTo(start.place));
    }
    root.addEventListener("pointerup", end);
    root.addEventListener("pointercancel", end);
    return {
      element: root,
      draw({ places, classes, isIn, chosen }) {
        circles.forEach((circle, place) => {
          const [x, y] = [places.x[place], places.y[place]];
          const isThere = x !== null && y !== null;
          circle.toggleAttribute("hidden", !isThere);
          at[place] = isThere ? [SIZE / 2 + x * scale, SIZE / 2 - y * scale] : null;
          if (isThere) circle.setAttribute("cx", at[place][0].toFixed(2));
          if (isThere) circle.setAttribute("cy", at[place][1].toFixed(2));
          circle.setAttribute("class", `point ${classes[place]}${isIn(place) ? "" : " out"}${chosen && chosen.has(place) ? " chosen" : ""}`);
          circle.replaceChildren(svg("title", {}, nameOf(place)));
        });
      },
    };
  }

  async function mapView(context) {
    const { page, head, checkpoints } = context;
    const query = context.place.query;
    const all = colorings(head, checkpoints);
    const usual = Object.keys(all)[0] || "";
    const state = { color: all[query.get("color")] ? query.get("color") : usual, search: query.get("search") || "", layer: query.get("layer") || "", chosen: placesOf(head, query.get("chosen")) };
    let places = null;
    let turn = 0;

    const hrefTo = (place) => {
      const layer = head.layers[head.layer[place]];
      const run = page.runInAddress(head.run);
      return head.list ? page.href({ view: "listed", layer, name: head.list, unit: head.units[place] }, { run }) : page.href({ view: "unit", layer, channel: head.units[place] }, { run });
    };
    const textsOf = (place) => [all.class && all.class.text(place, places) && `class ${all.class.text(place, places)}`, all.birth && all.birth.text(place) && `born at ${all.birth.text(place)}`, head.notes[place]].filter(Boolean);
    const nameOf = (place) => [`${head.layers[head.layer[place]]} ${head.noun} ${head.units[place]}`, ...textsOf(place)].join(", ");
    const isFound = (place) => {
      if (state.layer && head.layers[head.layer[place]] !== state.layer) return false;
      const wanted = state.search.trim();
      return !wanted || filters.matches(head.units[place], wanted) || filters.isNoted(nameOf(place), wanted);
    };
    const isIn = (place) => isFound(place) && (!state.chosen || state.chosen.has(place));

    const hovered = element("p", { class: "hovered quiet", "aria-hidden": "true" }, "\u00a0");
    const legend = element("div", {});
    const tally = element("p", { class: "tally", role: "status" });
    const list = element("ul", { class: "map-list" });
    const unlasso = button("Clear the lasso", () => choose(null), { class: "plain", hidden: true });
    const clear = button("Clear search and filters", () => { state.search = search.value = ""; state.layer = ""; if (ofLayer) ofLayer.querySelector("select").value = ""; choose(null); }, { class: "plain", hidden: true });
    const map = drawing({ head, nameOf, hrefTo, onLasso: (found) => choose(new Set(found)), onHover: (place) => { hovered.textContent = place === null ? "\u00a0" : nameOf(place); } });

    function choose(chosen) {
      state.chosen = chosen && chosen.size ? chosen : null;
      changed();
    }

    function changed() {
      page.update({ color: state.color === usual ? null : state.color, search: state.search || null, layer: state.layer || null, chosen: state.chosen ? textOf(head, state.chosen) : null });
      draw();
    }

    function draw() {
      if (!places) return;
      const { classes, legend: entries } = colored(head, all[state.color], places);
      map.draw({ places, classes, isIn: isFound, chosen: state.chosen });
      dvis.replace(legend, entries.length ? dvis.plot.legend(entries) : null);
      const found = head.units.map((_, place) => place).filter(isIn);
      const isNone = !found.length;
      tally.textContent = isNone ? words.unfound(head.noun, state.search, "number, layer, class or note") : `${words.count(found.length)} of ${words.counted(head.units.length, head.noun)}${found.length > MOST_LISTED ? `, the first ${MOST_LISTED} here` : ""}`;
      clear.hidden = !isNone;
      unlasso.hidden = !state.chosen;
      dvis.replace(list, found.slice(0, MOST_LISTED).map((place) => element("li", {}, element("a", { href: hrefTo(place), "data-place": place },
        element("span", { class: `swatch ${classes[place]}`, "aria-hidden": "true" }), element("span", {}, nameOf(place)),
        places.x[place] === null ? element("span", { class: "quiet" }, ", no place here") : null))));
      list.dataset.count = found.length;
    }

    async function showCheckpoint(to) {
      page.remember(checkpoints, to);
      turn += 1;
      const mine = turn;
      const found = await dvis.lists.at(head, "places", to);
      if (mine !== turn) return;
      places = found;
      draw();
      page.relink();
      map.element.dataset.shown = to;
    }

    const search = element("input", { type: "search", class: "search", placeholder: "12, a class, a note", "aria-label": `Search ${head.noun}s: a number, a list, a range, a layer, a class, words of a note`, value: state.search, on: { input: () => { state.search = search.value; changed(); } } });
    const ofLayer = head.layers.length > 1 ? dvis.choice("Layer", [["", "all"], ...head.layers.map((name) => [name, name])], state.layer, (value) => { state.layer = value; changed(); }, { id: "map-layer" }) : null;
    const color = usual ? dvis.choice("Colour by", [...Object.entries(all).map(([name, { title }]) => [name, title]), [NONE, "nothing"]], state.color || NONE, (value) => { state.color = value; changed(); }, { id: "color" }) : null;
    if (query.get("color") === NONE) { state.color = NONE; if (color) color.querySelector("select").value = NONE; }
    const bar = dvis.checkpointBar({ checkpoints, index: context.checkpoint, onChange: (to) => showCheckpoint(to).catch((error) => page.tell(error.message)) });
    const shares = head.explained.map((share) => `${words.number(share * 100, 2)} %`).join(" and ");
    const root = element("div", { class: "map-view" },
      element("div", { class: "title-row" }, element("h1", {}, element("span", { class: "dim" }, "Map"), ` ${head.name}`), element("p", { class: "subtitle" }, `${words.counted(head.units.length, head.noun)}, run ${head.run}`)),
      head.remarks.map((remark) => element("p", { class: "note" }, remark)),
      bar.element,
      element("div", { class: "map-main" },
        element("section", { class: "card", "aria-label": "Map" },
          element("div", { class: "map-controls" }, color, legend),
          map.element, hovered,
          element("p", { class: "quiet map-meaning" }, `${head.distance}. The axes are the same at all checkpoints, so what does not change does not move; they hold ${shares} of the variance, and what lies near on the map may differ in the rest.`)),
        element("section", { class: "card map-side", "aria-label": `${words.capital(head.noun)}s` },
          element("label", { class: "field" }, element("span", {}, "Search"), search), ofLayer,
          element("p", { class: "quiet" }, `Draw a line around points to choose them, or search: the list has the same ${head.noun}s.`),
          tally, element("div", { class: "map-clear" }, unlasso, clear), list)));
    return { element: root, title: `Map ${head.name}`, bar, search, ready: () => showCheckpoint(context.checkpoint), close() { bar.pause(); turn += 1; } };
  }

  dvis.views = dvis.views || {};
  dvis.views.map = mapView;
  dvis.maps = { read, card, trail };
})((window.dvis = window.dvis || {}));
