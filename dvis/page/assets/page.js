"use strict";

// The page: from an address to a view, what all views share, and a store that grows.
(function (dvis) {
  const { element, button, words, source, address } = dvis;
  const POLL_MS = 15000;
  const WRITE_MS = 150;
  const SHARED = ["run", "variant", "checkpoint", "x", "k"];
  const OF_LAYER = ["sort", "order", "filter", "search", "size"];
  const main = document.getElementById("main");
  const notice = document.getElementById("notice");
  const arranged = new Map(); // how each layer was last sorted and filtered, for the way up
  const scrolled = new Map(); // how far each view was scrolled, for the way back
  let place = address.parse(window.location.hash);
  let turn = 0;
  let isByLink = false;
  let signature = null;
  let overview = null;

  const page = { view: null };

  // Addresses ---------------------------------------------------------------------------------

  /** Address of a place, with what views share and `changes`. */
  page.href = function (to, changes = {}) {
    const query = new Map();
    for (const name of SHARED) if (place.query.has(name)) query.set(name, place.query.get(name));
    for (const [name, value] of Object.entries(changes)) query.set(name, value);
    return address.make(to, query);
  };

  /** Change what the address says without another view. */
  page.update = function (changes) {
    for (const [name, value] of Object.entries(changes)) {
      if (value === null || value === undefined || value === "") place.query.delete(name);
      else place.query.set(name, String(value));
    }
    window.clearTimeout(writing);
    writing = window.setTimeout(writeAddress, WRITE_MS);
  };

  let writing = 0;
  /** Browsers take milliseconds for it and refuse too many: so once the slider rests. */
  function writeAddress() {
    window.clearTimeout(writing);
    const hash = address.make(place, place.query);
    if (hash !== window.location.hash) window.history.replaceState(window.history.state, "", hash);
  }
  window.addEventListener("pagehide", writeAddress);

  /**
   * Keep the slider's checkpoint in the address. Without one a view shows the last, also when the
   * store has grown; with one it is that one for good.
   */
  page.remember = function (checkpoints, index, name = "checkpoint") {
    if (index < checkpoints.length - 1 || place.query.has(name)) page.update({ [name]: checkpoints[index].label });
  };

  page.go = function (href) {
    writeAddress();
    isByLink = true;
    window.location.hash = href;
  };

  let relinking = 0;
  /** Links lead to the slider's checkpoint. */
  page.relink = function () {
    window.clearTimeout(relinking);
    relinking = window.setTimeout(() => {
      for (const link of document.querySelectorAll("a[href^='#/']")) {
        if (link.hasAttribute("data-fixed")) continue;
        const to = address.parse(link.getAttribute("href"));
        if (place.query.has("checkpoint")) to.query.set("checkpoint", place.query.get("checkpoint"));
        else to.query.delete("checkpoint");
        link.setAttribute("href", address.make(to, to.query));
      }
    }, 80);
  };

  page.runInAddress = (run) => (overview.default && run === overview.default.run ? null : run);
  page.variantInAddress = function (run, variant) {
    const ofRun = overview.runs.find((each) => each.name === run);
    return ofRun && ofRun.default === variant ? null : variant;
  };

  /** A layer as it was last sorted and filtered. */
  page.layerHref = (layer) => page.href({ view: "layer", layer }, arranged.get(keyOf({ view: "layer", layer })));
  page.listHref = (layer, name, changes = {}) => page.href({ view: "list", layer, name }, { ...arranged.get(keyOf({ view: "list", layer, name })), ...changes });

  function keepArrangement() {
    if (place.view !== "layer" && place.view !== "list") return;
    arranged.set(keyOf(place), Object.fromEntries(OF_LAYER.filter((name) => place.query.has(name)).map((name) => [name, place.query.get(name)])));
  }

  page.up = function () {
    if (place.view === "unit") page.go(page.layerHref(place.layer));
    else if (place.view === "listed") page.go(page.listHref(place.layer, place.name));
    else if (place.view !== "overview") page.go(page.href({ view: "overview" }));
  };

  page.compare = function () {
    const { view, layer, channel } = place;
    const extra = view === "unit" ? { layer, channel } : view === "layer" ? { layer } : {};
    if (place.view !== "compare") page.go(page.href({ view: "compare" }, extra));
  };

  // Contexts ----------------------------------------------------------------------------------

  function variantEntry(run, variant) {
    const runName = run || (overview.default && overview.default.run);
    const ofRun = overview.runs.find((each) => each.name === runName);
    if (!ofRun) throw new Error(overview.runs.length ? `There is no run ${JSON.stringify(runName)} in this store. Runs: ${overview.runs.map((r) => r.name).join(", ")}` : `This store holds no ${overview.nouns.units} yet`);
    const name = variant || ofRun.default;
    const found = ofRun.variants.find((each) => each.name === name);
    if (!found) throw new Error(`There is no variant ${JSON.stringify(name)} in run ${JSON.stringify(runName)}. Variants: ${ofRun.variants.map((v) => v.name).join(", ")}`);
    return found;
  }

  page.variantContext = async function (run, variant) {
    const entry = variantEntry(run, variant);
    const document_ = await source.read(`variant/${entry.index}`);
    named(document_.checkpoints);
    return { variantIndex: entry.index, variant: document_, checkpoints: document_.checkpoints };
  };

  /** Checkpoints that know whether all of them are named alike. */
  function named(checkpoints) {
    const isByStep = checkpoints.every((c) => c.step !== null);
    const hasPhases = new Set(checkpoints.map((c) => c.phase).filter(Boolean)).size > 1;
    for (const checkpoint of checkpoints) Object.assign(checkpoint, { isByStep, hasPhases });
  }

  async function contextOf() {
    overview = await source.read("overview");
    signature = overview.signature;
    if (place.view === "list" || place.view === "listed") return listContext(dvis.lists, "This list");
    if (place.view === "map") return listContext(dvis.maps, "This map");
    if (!overview.runs.length && overview.lists.length && place.view === "overview") return { page, place, overview, variant: null, view: "lists" };
    const own = await page.variantContext(place.query.get("run"), place.query.get("variant"));
    const context = {
      overview, ...own, ...axisOf(own.checkpoints, "This variant"),
      image: own.variant.image,
      besideSlider: dvis.shapes.besideSlider(own.variant.parts, own.checkpoints),
      page, place, summary: null,
    };
    if (place.view === "layer" || place.view === "unit") context.summary = layerOf(own.variant);
    return context;
  }

  /** A list or a map of units, which stands on no variant; `of` reads it and says where it is. */
  async function listContext(of, what) {
    const head = await of.read(overview, place);
    named(head.checkpoints);
    return { page, place, overview, variant: null, head, checkpoints: head.checkpoints, trailOf: of.trail, ...axisOf(head.checkpoints, what) };
  }

  /** The slider's checkpoint and the axis that the address names, and a choice of axes. */
  function axisOf(checkpoints, what) {
    if (!checkpoints.length) throw new Error(`${what} has no checkpoints yet`);
    const wanted = place.query.get("checkpoint");
    const found = wanted === undefined ? -1 : checkpoints.findIndex((c) => c.label === wanted);
    if (wanted !== undefined && found < 0 && place.view !== "compare") page.tell(`There is no checkpoint ${JSON.stringify(words.shortened(wanted, 60))} here; this is the last one.`);
    const kinds = dvis.scales.kinds(checkpoints);
    const usual = dvis.scales.usual(checkpoints);
    const asked = place.query.get("x");
    const axisKind = kinds.some(([kind]) => kind === asked) ? asked : usual;
    return {
      axisKind,
      checkpoint: found < 0 ? checkpoints.length - 1 : found,
      axisChoice: () => dvis.choice("Axis", kinds, axisKind, (kind) => { page.update({ x: kind === usual ? null : kind }); page.render(); }, { id: "axis" }),
    };
  }

  function layerOf(variant) {
    const found = variant.layers.find((layer) => layer.name === place.layer);
    if (found) return found;
    throw new Error(`There is no layer ${JSON.stringify(place.layer)} in ${variant.variant} of run ${variant.run}. Layers: ${variant.layers.slice(0, 10).map((l) => l.name).join(", ")}${variant.layers.length > 10 ? ", …" : ""}`);
  }

  // Drawing -----------------------------------------------------------------------------------

  function trail(context) {
    const parts = [element("a", { href: page.href({ view: "overview" }), class: "home", "aria-current": place.view === "overview" ? "page" : null }, source.facts.model || "store")];
    if (!context) return parts;
    if (!context.variant) return [...parts, ...(context.head ? context.trailOf(context) : [])];
    const { variant } = context;
    const reset = (changes) => { page.update(changes); page.render(); };
    const run = overview.runs.find((each) => each.name === variant.run);
    if (place.view !== "compare") {
      if (overview.runs.length > 1) parts.push(dvis.choice("Run", overview.runs.map((r) => [r.name, r.name]), variant.run, (name) => reset({ run: page.runInAddress(name), variant: null }), { id: "run" }));
      if (run.variants.length > 1) parts.push(dvis.choice("Variant", run.variants.map((v) => [v.name, v.name]), variant.variant, (name) => reset({ variant: page.variantInAddress(variant.run, name) }), { id: "variant" }));
      const layers = [["", "all layers"], ...variant.layers.map((layer) => [layer.name, layer.name])];
      const chosen = place.view === "overview" ? "" : place.layer;
      parts.push(dvis.choice("Layer", layers, chosen, (layer) => page.go(page.href(layer ? { view: "layer", layer } : { view: "overview" })), { id: "layer" }));
      if (place.view === "unit") parts.push(element("a", { href: page.layerHref(place.layer), class: "up" }, `all its ${variant.unit}s`));
    }
    return parts;
  }

  function tools() {
    const sign = (d) => dvis.svg("svg", { viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true" }, dvis.svg("path", { d, class: "sign" }));
    const tool = (d, text, key, action, id) => {
      const made = button("", action, { class: "icon", "aria-label": text, title: `${text} (${key})`, id });
      made.append(sign(d));
      return made;
    };
    return [
      element("a", { class: "tool-link", href: page.href({ view: "compare" }), on: { click: (event) => { event.preventDefault(); page.compare(); } } }, "Compare"),
      source.isLive ? tool("M13 8a5 5 0 1 1-1.5-3.6M13 2v3h-3", "Read the store again", "r", page.refresh, "refresh") : null,
      tool("M8 2.5a5.5 5.5 0 1 0 0 11Zm0 0a5.5 5.5 0 0 1 0 11", "Light or dark", "t", dvis.theme.toggle, "theme"),
      tool("M6 6a2 2 0 1 1 2.6 1.9c-.5.2-.6.6-.6 1.2M8 11.8v.1", "Keys", "?", dvis.keyboard.showHelp, "help"),
    ];
  }

  page.tell = function (text, ...more) {
    notice.hidden = !text;
    dvis.replace(notice, element("span", {}, text), more, text ? button("×", () => page.tell(""), { class: "icon", "aria-label": "Close this message" }) : null);
  };

  function showFault(error) {
    dvis.replace(main, element("div", { class: "fault-box", role: "alert" }, element("h1", {}, "This view cannot be shown"), element("p", {}, error.message),
      element("p", {}, element("a", { class: "action", href: "#/" }, "To the overview"))));
    document.title = `${source.facts.model} · dvis`;
  }

  /** Draw the view that the address names. */
  page.render = async function () {
    turn += 1;
    const mine = turn;
    const focused = document.activeElement && document.activeElement.id;
    if (page.view && page.view.close) page.view.close();
    page.view = null;
    main.setAttribute("aria-busy", "true");
    let context = null;
    try {
      context = await contextOf();
      const view = await dvis.views[context.view || place.view](context);
      if (mine !== turn) {
        if (view.close) view.close();
        return;
      }
      page.view = view;
      dvis.replace(main, view.element);
      document.title = `${view.title} · ${source.facts.model} · dvis`;
    } catch (error) {
      if (mine !== turn) return;
      showFault(error);
    }
    dvis.replace(document.getElementById("trail"), trail(context));
    dvis.replace(document.getElementById("tools"), tools());
    if (page.view && page.view.ready) await page.view.ready().catch((error) => page.tell(error.message));
    if (mine !== turn) return;
    const again = focused && document.getElementById(focused);
    if (again) again.focus({ preventScroll: true });
    main.setAttribute("aria-busy", "false");
    main.dataset.view = place.view;
    writeAddress();
    performance.mark("dvis-view");
  };

  /** Read the store again and draw the same view. */
  page.refresh = async function () {
    page.tell("");
    source.forget();
    await page.render();
    dvis.announce("The store was read again");
  };

  /** A change that the page made itself is no news to it. */
  page.expect = function (now) { signature = now; };

  async function poll() {
    if (document.visibilityState !== "visible" || signature === null) return;
    const now = await source.signature().catch(() => null);
    if (now !== null && now !== signature && notice.hidden) {
      page.tell("The store has grown or changed.", button("Read it again (r)", page.refresh, { class: "action" }));
    }
  }

  function keyOf({ view, layer, name, channel, unit }) {
    return [view, layer ?? "", name ?? "", channel ?? unit ?? ""].join("/");
  }

  async function moved() {
    window.clearTimeout(writing);
    const before = keyOf(place);
    keepArrangement();
    scrolled.set(before, window.scrollY);
    place = address.parse(window.location.hash);
    const to = isByLink ? 0 : scrolled.get(keyOf(place)) || 0;
    const isFresh = isByLink;
    isByLink = false;
    page.tell("");
    await page.render();
    window.scrollTo({ top: to, behavior: "instant" });
    if (isFresh && before !== keyOf(place)) main.focus({ preventScroll: true });
  }

  document.addEventListener("click", (event) => {
    if (!(event.target instanceof Element)) return;
    if (event.target.closest("#skip")) {
      event.preventDefault();
      main.focus();
      return;
    }
    if (event.target.closest("a[href^='#/']")) {
      writeAddress();
      isByLink = true;
    }
  });
  window.addEventListener("hashchange", moved);
  if ("scrollRestoration" in window.history) window.history.scrollRestoration = "manual";
  if (source.isLive) window.setInterval(poll, POLL_MS);
  page.poll = poll;
  dvis.page = page;
  page.render();
})((window.dvis = window.dvis || {}));
