"use strict";

// The address of a view: `#/`, `#/LAYER`, `#/LAYER/CHANNEL`, `#/compare`, `#/list/LAYER/NAME`,
// `#/list/LAYER/NAME/UNIT`, `#/map/NAME`, and after a question mark whatever differs from the defaults.
(function (dvis) {
  const COMPARE = "compare";
  const LIST = "list";
  const MAP = "map";

  function decoded(text) {
    try {
      return decodeURIComponent(text);
    } catch {
      return text; // a lone percent sign, typed by hand
    }
  }

  function parse(hash) {
    const [path, ...rest] = hash.replace(/^#\/?/, "").split("?");
    const query = new Map();
    for (const pair of rest.join("?").split("&")) {
      if (!pair) continue;
      const at = pair.indexOf("=");
      if (at < 0) query.set(decoded(pair), "");
      else query.set(decoded(pair.slice(0, at)), decoded(pair.slice(at + 1)));
    }
    const parts = path.split("/").filter((part) => part !== "");
    if (!parts.length) return { view: "overview", query };
    if (parts[0] === COMPARE && parts.length === 1) return { view: "compare", query };
    if (parts[0] === LIST && (parts.length === 3 || parts.length === 4)) return listPlace(parts, query);
    if (parts[0] === MAP && parts.length === 2) return { view: "map", name: decoded(parts[1]), query };
    const layer = decoded(parts[0]);
    if (parts.length === 1) return { view: "layer", layer, query };
    const channel = decoded(parts.slice(1).join("/"));
    return { view: "unit", layer, channel: /^\d{1,9}$/.test(channel) ? Number(channel) : channel, query };
  }

  function listPlace(parts, query) {
    const [layer, name, unit] = parts.slice(1).map(decoded);
    if (unit === undefined) return { view: "list", layer, name, query };
    return { view: "listed", layer, name, unit: /^\d{1,9}$/.test(unit) ? Number(unit) : unit, query };
  }

  function segment(layer) {
    // A layer may itself be called "compare", "list" or "map".
    if (layer === COMPARE) return "%63ompare";
    if (layer === LIST) return "%6Cist";
    if (layer === MAP) return "%6Dap";
    return encodeURIComponent(layer);
  }

  function make(place, query) {
    let path = "";
    if (place.view === "layer") path = segment(place.layer);
    if (place.view === "unit") path = `${segment(place.layer)}/${encodeURIComponent(place.channel)}`;
    if (place.view === "compare") path = COMPARE;
    if (place.view === "map") path = `${MAP}/${encodeURIComponent(place.name)}`;
    if (place.view === "list" || place.view === "listed") {
      path = [LIST, ...[place.layer, place.name].map(encodeURIComponent)].join("/");
      if (place.view === "listed") path += `/${encodeURIComponent(place.unit)}`;
    }
    const pairs = [];
    for (const [name, value] of query || []) {
      if (value === null || value === undefined || value === "") continue;
      pairs.push(`${encodeURIComponent(name)}=${encodeURIComponent(value)}`);
    }
    return `#/${path}${pairs.length ? `?${pairs.join("&")}` : ""}`;
  }

  dvis.address = { parse, make };
})((window.dvis = window.dvis || {}));
