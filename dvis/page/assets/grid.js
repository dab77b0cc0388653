"use strict";

// A grid of any number of cells, of which only those in sight are in the page.
(function (dvis) {
  const OVERSCAN_ROWS = 3;
  const GAP = 8;
  const WIDEST_GAP = 18; // beyond it cells grow instead

  /**
   * `make()` gives an empty cell, `bind(cell, item, place)` fills it; `onSight(items)` is told what
   * is in sight now. Cells are `width` x `height` pixels.
   */
  function grid({ make, bind, onSight, width, height, label }) {
    const root = dvis.element("div", { class: "grid", role: "list", "aria-label": label });
    const shown = new Map(); // place -> cell
    const spare = [];
    let items = [];
    let columns = 1;
    let gap = GAP;
    let cellWidth = width;
    let pitch = height + GAP; // of rows

    function layout() {
      const room = root.clientWidth;
      columns = Math.max(1, Math.floor((room + GAP) / (width + GAP)));
      gap = columns > 1 ? Math.min(WIDEST_GAP, (room - columns * width) / (columns - 1)) : GAP;
      const isGrown = gap === WIDEST_GAP && items.length >= columns;
      cellWidth = isGrown ? (room - gap * (columns - 1)) / columns : width;
      pitch = cellWidth + height - width + GAP;
      root.style.setProperty("--cell", `${cellWidth}px`);
      root.style.height = `${Math.max(0, Math.ceil(items.length / columns) * pitch - GAP)}px`;
    }

    function range() {
      const top = root.getBoundingClientRect().top;
      const first = Math.max(0, Math.floor(-top / pitch) - OVERSCAN_ROWS);
      const last = Math.ceil((window.innerHeight - top) / pitch) + OVERSCAN_ROWS;
      return [first * columns, Math.max(first, Math.min(items.length, last * columns))];
    }

    function put(cell, place) {
      const x = (place % columns) * (cellWidth + gap);
      const y = Math.floor(place / columns) * pitch;
      cell.style.transform = `translate(${x.toFixed(2)}px, ${y}px)`;
    }

    function fill(isFresh) {
      const [from, to] = range();
      let isChanged = isFresh;
      for (const [place, cell] of shown) {
        const isIn = place >= from && place < to;
        // The cell with the keyboard's focus stays, so that the focus is not lost.
        if (!isFresh && (isIn || cell === document.activeElement)) continue;
        shown.delete(place);
        spare.push(cell);
        isChanged = true;
      }
      for (let place = from; place < to; place += 1) {
        if (shown.has(place)) continue;
        const cell = spare.pop() || make();
        cell.setAttribute("aria-setsize", items.length);
        cell.setAttribute("aria-posinset", place + 1);
        put(cell, place);
        bind(cell, items[place], place);
        shown.set(place, cell);
        if (!cell.isConnected) root.append(cell);
        isChanged = true;
      }
      while (spare.length) spare.pop().remove();
      if (isChanged) onSight(inSight());
    }

    function inSight() {
      return [...shown.keys()].map((place) => items[place]);
    }

    let isDue = false;
    function later() {
      if (isDue) return;
      isDue = true;
      window.requestAnimationFrame(() => {
        isDue = false;
        if (root.isConnected) fill(false);
      });
    }
    window.addEventListener("scroll", later, { passive: true });
    window.addEventListener("resize", later);
    const observer = new ResizeObserver(() => {
      const before = columns;
      const [gapBefore, widthBefore] = [gap, cellWidth];
      layout();
      if (columns !== before || gap !== gapBefore || cellWidth !== widthBefore) for (const [place, cell] of shown) put(cell, place);
      later();
    });
    observer.observe(root);

    return {
      element: root,
      show(next) {
        items = next;
        layout();
        fill(true);
      },
      each(action) {
        for (const [place, cell] of shown) action(cell, items[place]);
      },
      inSight,
      close() {
        window.removeEventListener("scroll", later);
        window.removeEventListener("resize", later);
        observer.disconnect();
      },
    };
  }

  dvis.grid = grid;
})((window.dvis = window.dvis || {}));
