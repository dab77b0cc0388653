"use strict";

// One field that looks for layers, lists and units of the whole store, by words.
(function (dvis) {
  const { element, words, filters } = dvis;
  const MAX_UNITS = 50;
  const REST_MS = 150;

  /** Where a unit that has words stands. */
  function hrefOf({ page }, each) {
    const run = page.runInAddress(each.run);
    if (each.list) return page.href({ view: "listed", layer: each.layer, name: each.list, unit: each.unit }, { run, variant: null });
    return page.href({ view: "unit", layer: each.layer, channel: each.unit }, { run, variant: page.variantInAddress(each.run, each.variant) });
  }

  function item(context, each) {
    const isOfRuns = context.overview.runs.length > 1;
    const place = [isOfRuns ? each.run : null, each.layer, each.list || null].filter(Boolean).join(" · ");
    return element("li", {}, element("a", { class: "found-unit", href: hrefOf(context, each) },
      element("span", { class: "dim" }, place), element("strong", {}, `${each.noun} ${each.unit}`),
      each.texts.map(([what, text]) => element("span", { class: "about" }, `${what}: ${text}`))));
  }

  /** Units whose note, name or class has all words; `null` where these cannot be read. */
  async function unitsOf(wanted) {
    const { units } = await dvis.source.read("called");
    return units.filter((each) => filters.isNoted(each.texts.map(([, text]) => text).join(" "), wanted));
  }

  /**
   * The field, and what it finds. `narrow(wanted)` shows what else stands on the view of what is
   * wanted, and says how much that is, as texts.
   */
  function search(context, narrow) {
    const { page, place } = context;
    let timer = 0;
    let turn = 0;
    const tally = element("p", { class: "tally", role: "status" });
    const list = element("ul", { class: "found-units", hidden: true });
    const clear = dvis.button("Clear the search", () => { field.value = ""; changed(); field.focus(); }, { class: "plain", hidden: true });
    const field = element("input", { type: "search", class: "search", id: "search", placeholder: "a layer, a note, a class", "aria-label": "Search the store: layers, and words of notes, names and classes of units", value: place.query.get("search") || "", on: { input: changed } });

    function changed() {
      page.update({ search: field.value || null });
      window.clearTimeout(timer);
      timer = window.setTimeout(draw, REST_MS);
    }

    async function draw() {
      turn += 1;
      const mine = turn;
      const wanted = field.value.trim();
      const amounts = narrow(wanted);
      clear.hidden = !wanted;
      if (!wanted) {
        tally.textContent = "";
        list.hidden = true;
        list.dataset.searched = "";
        return;
      }
      let units = [];
      tally.textContent = "Searching …";
      try {
        units = await unitsOf(wanted);
      } catch (error) {
        page.tell(error.message);
      }
      if (mine !== turn) return;
      dvis.replace(list, units.slice(0, MAX_UNITS).map((each) => item(context, each)));
      list.hidden = !units.length;
      const isNone = !units.length && amounts.every(([n]) => !n);
      tally.textContent = isNone
        ? `Nothing is called “${words.shortened(wanted, 60)}”: no layer, and no note, name or class of a unit. Fewer letters find more; a unit's number is searched for in its layer.`
        : [...amounts, [units.length, "unit"]].map(([n, noun]) => words.counted(n, noun)).join(", ") + (units.length > MAX_UNITS ? `, the first ${MAX_UNITS} here` : "");
      list.dataset.searched = wanted;
      page.relink();
    }

    if (field.value) draw();
    return {
      field,
      element: element("section", { class: "card search-card", "aria-label": "Search" },
        element("div", { class: "search-row" }, element("label", { class: "field" }, element("span", {}, "Search"), field), tally, clear), list),
      close() { window.clearTimeout(timer); turn += 1; },
    };
  }

  /** Show those of some elements whose words are looked for, and count them. */
  function narrowed(elements, wanted) {
    const found = [...elements].filter((each) => {
      const isFound = !wanted || filters.isNoted(each.dataset.layer || each.textContent, wanted);
      each.hidden = !isFound;
      return isFound;
    });
    return found.length;
  }

  search.narrowed = narrowed;
  dvis.search = search;
})((window.dvis = window.dvis || {}));
