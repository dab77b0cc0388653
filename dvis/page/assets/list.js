"use strict";

// All units of a list at a checkpoint: their numbers in rows, sorted, filtered and searched.
(function (dvis) {
  const { element, button, words, filters } = dvis;
  const ROW = 52; // pixels; what the style gives a row
  const WIDE = 1e5; // wider than any window: one row below the other
  const FEW = 4; // categories: so many have boxes to tick, more have a menu

  const isNumber = (value) => value !== null && value !== undefined;

  /** Conditions from `frequency:0.1..;best_class:3,4;noted`. */
  function parse(text, columns) {
    const conditions = { ranges: {}, chosen: {}, isNoted: false };
    for (const part of (text || "").split(";")) {
      const [name, value = ""] = [part.split(":")[0], part.slice(part.indexOf(":") + 1)];
      const column = columns.find((each) => each.name === name);
      if (part === "noted") conditions.isNoted = true;
      else if (column && column.categories.length) conditions.chosen[name] = new Set(value.split(",").filter(Boolean).map(Number));
      else if (column && value.includes("..")) {
        conditions.ranges[name] = value.split("..").map((v) => (v === "" || Number.isNaN(Number(v)) ? null : Number(v)));
      }
    }
    return conditions;
  }

  function textOf(conditions) {
    const ranges = Object.entries(conditions.ranges).filter(([, [low, high]]) => isNumber(low) || isNumber(high));
    return [
      ...ranges.map(([name, [low, high]]) => `${name}:${low ?? ""}..${high ?? ""}`),
      ...Object.entries(conditions.chosen).map(([name, values]) => `${name}:${[...values].sort((a, b) => a - b).join(",")}`),
      ...(conditions.isNoted ? ["noted"] : []),
    ].join(";");
  }

  /** Whether a unit is what is searched for: its number, words of its note or name, or a category. */
  function isFound(head, numbers, place, wanted) {
    if (!wanted) return true;
    if (/^[\d\s,-]+$/.test(wanted)) return filters.matches(head.units[place], wanted);
    if ([head.notes, head.names].some((texts) => filters.isNoted(texts[head.units[place]], wanted))) return true;
    return head.columns.some((column) => column.categories.length > FEW && filters.isNoted(column.categories[numbers[column.name][place]], wanted));
  }

  /** Places of the units that meet all conditions, in order. */
  function passing(head, numbers, conditions, { sort, isDescending, search }) {
    let places = head.units.map((_, place) => place);
    const wanted = search.trim();
    if (wanted) places = places.filter((place) => isFound(head, numbers, place, wanted));
    if (conditions.isNoted) places = places.filter((place) => head.notes[head.units[place]]);
    for (const [name, values] of Object.entries(conditions.chosen)) places = places.filter((place) => values.has(numbers[name][place]));
    for (const [name, range] of Object.entries(conditions.ranges)) {
      if (range.some(isNumber)) places = places.filter((place) => filters.isIn(numbers[name][place], range));
    }
    if (sort === "unit") return isDescending ? places.reverse() : places;
    const column = head.columns.find((each) => each.name === sort);
    const key = sort === "note" ? (place) => head.notes[head.units[place]] || null
      : column.categories.length ? (place) => column.categories[numbers[sort][place]] ?? null : (place) => numbers[sort][place];
    const sign = isDescending ? -1 : 1;
    return places.sort((i, j) => {
      const [a, b] = [key(i), key(j)];
      if (!isNumber(a) || !isNumber(b)) return isNumber(b) - isNumber(a) || i - j;
      return sign * (typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a - b) || i - j;
    });
  }

  /** How long the bar of a number is, of 1. */
  function lengths(column, values) {
    const known = values.filter((v) => isNumber(v) && v > 0);
    const most = known.reduce((a, b) => Math.max(a, b), 1e-12);
    if (!column.is_log) return (v) => Math.max(0, Math.min(1, v / most));
    const least = known.reduce((a, b) => Math.min(a, b), most) / 2;
    return (v) => (v > 0 ? Math.log(v / least) / Math.log(most / least) : 0);
  }

  function makeRow(head) {
    const row = element("a", { class: "list-row", role: "listitem" });
    row.unitName = element("span", { class: "unit-name" });
    row.best = element("span", { class: "best" }, Array.from({ length: head.sheets ? 4 : 0 }, () => element("span", { class: "frame" }, element("canvas", { class: "thumb", width: 1, height: 1, "aria-hidden": "true" }))));
    row.columns = head.columns.map((column) => {
      const text = element("span", { class: "list-text" });
      const level = element("i");
      const mark = element("b", { hidden: true });
      const cell = element("span", { class: `list-cell ${column.categories.length ? "category" : "number"}`, "data-column": column.name }, column.categories.length ? null : element("span", { class: "bar-level" }, level, mark), text);
      return { column, cell, text, level, mark };
    });
    row.note = element("span", { class: "list-note" });
    row.append(row.unitName, row.best, ...row.columns.map(({ cell }) => cell), row.note);
    return row;
  }

  function fillNumber({ column, cell, text, level, mark }, numbers, place, length) {
    const value = numbers[column.name][place];
    const bound = column.null ? (numbers[column.null] || [])[place] : null;
    text.textContent = words.number(value, 3);
    level.style.width = `${(isNumber(value) ? length(value) : 0) * 100}%`;
    mark.hidden = !isNumber(bound);
    if (isNumber(bound)) mark.style.left = `${length(bound) * 100}%`;
    const isChance = isNumber(value) && isNumber(bound) && value <= bound;
    cell.classList.toggle("chance", isChance);
    return `${column.title.toLowerCase()} ${words.number(value, 3)}${isNumber(bound) ? ` (${column.null_title}: below ${words.number(bound, 3)})` : ""}`;
  }

  function fillRow(row, head, table, place) {
    const said = [`${head.noun} ${head.units[place]}`];
    row.unitName.textContent = head.units[place];
    for (const each of row.columns) {
      const { column, cell, text } = each;
      if (!column.categories.length) {
        said.push(fillNumber(each, table.numbers, place, table.lengths[column.name]));
        continue;
      }
      const name = column.categories[table.numbers[column.name][place]] || "";
      text.textContent = name || words.MISSING;
      cell.dataset.value = name;
      if (name) said.push(`${column.title.toLowerCase()} ${name}`);
    }
    const note = head.notes[head.units[place]] || "";
    const name = head.names[head.units[place]] || "";
    row.note.textContent = note || name;
    row.note.classList.toggle("by-program", !note && name !== "");
    if (note) said.push(note);
    if (name) said.push(`a program named it ${name}`);
    row.title = said.join("\n");
    row.setAttribute("aria-label", said.join(", "));
  }

  /** Draws the best samples of rows in sight. */
  function painter(head, rows) {
    let checkpoint = -1;
    async function paint(row, place) {
      if (!head.sheets) return;
      const mine = checkpoint;
      row.place = place;
      const { best } = head.blocks;
      const found = await dvis.lists.at(head, "best", mine, Math.floor(place / best)).catch(() => null);
      if (!found || mine !== checkpoint || row.place !== place) return;
      const cells = found.cells[place % best] || [];
      [...row.best.children].forEach((frame, rank) => {
        const sample = found.samples[cells[rank]];
        frame.hidden = !sample;
        frame.title = sample ? `${sample.label}\n${sample.id}` : "";
        if (sample) dvis.samples.draw(frame.firstChild, head.sheets, sample.at);
      });
    }
    return { paint, moveTo(index) { checkpoint = index; rows.each(paint); } };
  }

  async function listView(context) {
    const { page, head, checkpoints } = context;
    const query = context.place.query;
    const conditions = parse(query.get("filter"), head.columns);
    const sorts = [["unit", head.noun], ...head.columns.map(({ name, title }) => [name, title.toLowerCase()]), ["note", "note"]];
    const order = { sort: query.get("sort") || "unit", isDescending: query.get("order") === "desc", search: query.get("search") || "" };
    if (!sorts.some(([name]) => name === order.sort)) order.sort = "unit";
    const table = { numbers: null, lengths: {} };
    let checkpoint = context.checkpoint;
    let turn = 0;

    const tally = element("p", { class: "tally", role: "status" });
    const emptyText = element("span", {});
    const empty = element("p", { class: "empty", hidden: true }, emptyText, button("Clear search and filters", clear, { class: "plain" }));
    const rows = dvis.grid({
      make: () => makeRow(head), width: WIDE, height: ROW - 8, label: `${words.capital(head.noun)}s of ${head.name}`,
      bind(row, place) {
        fillRow(row, head, table, place);
        row.href = page.href({ view: "listed", layer: head.layer, name: head.name, unit: head.units[place] });
        row.dataset.unit = head.units[place];
        painting.paint(row, place);
      },
      onSight() {},
    });
    const painting = painter(head, rows);

    function list() {
      const listed = passing(head, table.numbers, conditions, order);
      tally.textContent = `${words.count(listed.length)} of ${words.counted(head.units.length, head.noun)}`;
      rows.element.dataset.count = listed.length;
      rows.show(listed);
      empty.hidden = listed.length > 0;
      emptyText.textContent = `${words.unfound(head.noun, order.search, "number, note, name or class")} `;
    }

    function describe() {
      for (const { column, control } of controls) {
        const values = table.numbers[column.name];
        if (column.categories.length) control.count(countsOf(values));
        else control.draw(values);
      }
    }

    async function showCheckpoint(to) {
      checkpoint = to;
      page.remember(checkpoints, to);
      turn += 1;
      const mine = turn;
      const found = await dvis.lists.at(head, "rows", to);
      if (mine !== turn) return;
      table.numbers = found.numbers;
      for (const column of head.columns) if (!column.categories.length) table.lengths[column.name] = lengths(column, found.numbers[column.name]);
      describe();
      painting.moveTo(to);
      list();
      page.relink();
      rows.element.dataset.shown = to;
    }

    function refilter() {
      page.update({ filter: textOf(conditions) || null, sort: order.sort === "unit" ? null : order.sort, order: order.isDescending ? "desc" : null, search: order.search || null });
      heads.forEach((each) => each.describe());
      list();
    }

    const controls = head.columns.map((column) => ({ column, control: controlOf(column, conditions, refilter) }));
    const noted = element("input", { type: "checkbox", on: { change: () => { conditions.isNoted = noted.checked; refilter(); } } });
    noted.checked = conditions.isNoted;
    const search = element("input", { type: "search", class: "search", placeholder: "12, a note, a class", "aria-label": "Search: a number, a list, a range, words of a note or a name, a class", value: order.search, on: { input: () => { order.search = search.value; refilter(); } } });

    function clear() {
      Object.assign(conditions, { ranges: {}, chosen: {}, isNoted: false });
      order.search = search.value = "";
      noted.checked = false;
      controls.forEach(({ control }) => control.reset());
      refilter();
    }

    function sortBy(name, isRising) {
      order.isDescending = order.sort === name ? !order.isDescending : !isRising;
      order.sort = name;
      refilter();
    }
    const heads = [headButton("unit", head.noun, true, order, sortBy), ...head.columns.map((column) => headButton(column.name, column.title, column.categories.length > 0, order, sortBy)), headButton("note", "Note", true, order, sortBy)];
    const bar = dvis.checkpointBar({ checkpoints, index: checkpoint, onChange: (to) => showCheckpoint(to).catch((error) => page.tell(error.message)), metrics: head.facts });
    const isWide = window.matchMedia("(min-width: 60rem)").matches;
    const side = element("details", { class: "side", open: isWide }, element("summary", {}, "Sort and filter"),
      element("div", { class: "side-body" },
        element("label", { class: "field" }, element("span", {}, "Search"), search),
        element("label", { class: "tickbox" }, noted, element("span", { class: "tickbox-name" }, "with a note"), element("span", { class: "amount" }, words.count(Object.keys(head.notes).length))),
        controls.map(({ control }) => control.element),
        button("Clear all filters", clear, { class: "plain" })));
    const root = element("div", { class: "layer-view list-view", style: { "--columns": head.columns.map(({ categories }) => (categories.length ? "minmax(3rem, 0.6fr)" : "minmax(5rem, 1fr)")).join(" ") || "[columns]", "--best": head.sheets ? "184px" : "0px" } },
      element("div", { class: "layer-head" }, element("h1", {}, element("span", { class: "dim" }, head.layer), ` ${head.name}`),
        element("p", { class: "subtitle" }, `${words.counted(head.units.length, head.noun)}, ${head.about}, run ${head.run}`)),
      head.remarks.map((remark) => element("p", { class: "note across" }, remark)),
      bar.element, side,
      element("section", { class: "gallery", "aria-label": `${words.capital(head.noun)}s` },
        element("div", { class: "gallery-head" }, tally),
        element("div", { class: "list-head" }, heads[0].element, element("span", {}, head.sheets ? "Best images" : ""), heads.slice(1).map((each) => each.element)),
        rows.element, empty));
    return {
      element: root, title: `${head.layer} ${head.name}`, bar, search,
      ready: () => showCheckpoint(checkpoint),
      close() { bar.pause(); rows.close(); },
    };
  }

  function countsOf(values) {
    const counts = {};
    for (const value of values) if (isNumber(value)) counts[value] = (counts[value] || 0) + 1;
    return counts;
  }

  function headButton(name, title, isRising, order, sortBy) {
    const made = button("", () => sortBy(name, isRising), { class: "plain list-sort", "data-sort": name });
    function describe() {
      const isSorted = order.sort === name;
      made.textContent = `${words.capital(title)}${isSorted ? (order.isDescending ? " ↓" : " ↑") : ""}`;
      made.setAttribute("aria-label", `Sort by ${title}${isSorted ? (order.isDescending ? ", descending now" : ", ascending now") : ""}`);
    }
    describe();
    return { element: made, describe };
  }

  /** A range, boxes or a menu: what chooses units by a column. */
  function controlOf(column, conditions, refilter) {
    if (!column.categories.length) {
      const range = filters.range(column.title, conditions.ranges[column.name], (bounds) => {
        if (bounds.some(isNumber)) conditions.ranges[column.name] = bounds;
        else delete conditions.ranges[column.name];
        refilter();
      }, { isLog: column.is_log });
      return { ...range, reset: () => range.set([null, null]) };
    }
    const choose = (values) => {
      if (values) conditions.chosen[column.name] = values;
      else delete conditions.chosen[column.name];
      refilter();
    };
    const chosen = conditions.chosen[column.name] || null;
    if (column.categories.length <= FEW) return filters.facet(column.title, column.categories.map((label, value) => ({ value, label })), chosen, choose);
    return menu(column, chosen, choose);
  }

  function menu(column, chosen, choose) {
    const options = column.categories.map((name, value) => [String(value), name]);
    const field = dvis.choice(column.title, [["", "any"], ...options], chosen && chosen.size ? String([...chosen][0]) : "", (value) => choose(value === "" ? null : new Set([Number(value)])));
    const select = field.querySelector("select");
    return {
      element: field,
      count(counts) { [...select.options].forEach((option) => { if (option.value !== "") option.textContent = `${column.categories[option.value]} (${words.count(counts[option.value] || 0)})`; }); },
      reset() { select.value = ""; },
    };
  }

  dvis.views = dvis.views || {};
  dvis.views.list = listView;
})((window.dvis = window.dvis || {}));
