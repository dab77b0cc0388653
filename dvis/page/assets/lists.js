"use strict";

// Lists of units that a store has beside those with pictures of their own: which there are, and what
// their views share.
(function (dvis) {
  const { element, words, source } = dvis;

  const runOf = (overview, place) => place.query.get("run") || (overview.default && overview.default.run) || (overview.lists[0] || {}).run;

  /** The head of the list that an address names. */
  async function read(overview, place) {
    const run = runOf(overview, place);
    const ofRun = overview.lists.filter((each) => each.run === run);
    const found = ofRun.find((each) => each.layer === place.layer && each.name === place.name);
    if (!found) {
      const there = ofRun.slice(0, 10).map((each) => `${each.name} of ${each.layer}`).join(", ") || "none";
      throw new Error(`There is no list ${JSON.stringify(place.name)} of ${JSON.stringify(place.layer)} in run ${JSON.stringify(run)}. Lists: ${there}`);
    }
    return source.read(`list/${found.number}`);
  }

  /** A document of a checkpoint, which says whose it is. */
  async function at(head, name, index, ...rest) {
    const found = await source.read([name, head.number, index, ...rest].join("/"));
    if (found.label !== head.checkpoints[index].label) throw new Error("The store has other checkpoints by now; refresh");
    return found;
  }

  const inAddress = (context, run) => (context.overview.default && run === context.overview.default.run ? null : run);

  function hrefOf(context, each) {
    return context.page.listHref(each.layer, each.name, { run: inAddress(context, each.run), variant: null });
  }

  function nounOf(overview) {
    const nouns = new Set(overview.lists.map((each) => words.capital(each.noun)));
    return nouns.size === 1 ? `${[...nouns][0]}s` : "Units";
  }

  /** Lists of the context's run, as a card of links; nothing where there are none. */
  function card(context) {
    const run = context.variant ? context.variant.run : null;
    const lists = context.overview.lists.filter((each) => run === null || each.run === run);
    if (!lists.length) return null;
    const isOfRuns = new Set(lists.map((each) => each.run)).size > 1;
    return element("section", { class: "card lists-card", "aria-labelledby": "lists" },
      element("h2", { id: "lists" }, nounOf(context.overview)),
      element("ul", { class: "list-links" }, lists.map((each) => element("li", {},
        element("a", { class: "list-link", href: hrefOf(context, each) },
          element("span", { class: "dim" }, isOfRuns ? `${each.run} · ${each.layer}` : each.layer), element("strong", {}, each.name), element("span", { class: "about" }, each.about))))));
  }

  /** Lists of a layer, as links in a line. */
  function links(context, layer) {
    const lists = context.overview.lists.filter((each) => each.run === context.variant.run && each.layer === layer);
    if (!lists.length) return null;
    return element("p", { class: "subtitle" }, `${nounOf(context.overview)}: `, lists.map((each, i) => [i ? ", " : null, element("a", { href: hrefOf(context, each) }, each.name)]));
  }

  /** Where a view of a list is, among others. */
  function trail(context) {
    const { page, place, overview, head } = context;
    const ofRun = overview.lists.filter((each) => each.run === head.run);
    const runs = [...new Set(overview.lists.map((each) => each.run))];
    const key = (each) => String(each.number);
    const go = (each) => page.go(hrefOf(context, each));
    return [
      runs.length > 1 ? dvis.choice("Run", runs.map((run) => [run, run]), head.run, (run) => go(overview.lists.find((each) => each.run === run)), { id: "run" }) : null,
      dvis.choice(nounOf(overview), ofRun.map((each) => [key(each), `${each.layer} · ${each.name}`]), key(head), (number) => go(ofRun.find((each) => key(each) === number)), { id: "list" }),
      place.view === "listed" ? element("a", { href: page.listHref(head.layer, head.name), class: "up" }, `all its ${head.noun}s`) : null,
    ];
  }

  /** What there is where a store has lists alone. */
  async function listsView(context) {
    const links = card(context);
    const search = dvis.search(context, (wanted) => [[dvis.search.narrowed(links.querySelectorAll("li"), wanted), "list"]]);
    const root = element("div", { class: "overview" },
      element("div", { class: "title-row" }, element("h1", {}, context.overview.model || "A store")),
      (context.overview.notes || []).map((note) => element("p", { class: "note" }, note)),
      search.element, links, dvis.maps.card(context));
    return { element: root, title: "Overview", search: search.field, close: search.close };
  }

  dvis.views = dvis.views || {};
  dvis.views.lists = listsView;
  dvis.lists = { read, at, card, links, trail };
})((window.dvis = window.dvis || {}));
