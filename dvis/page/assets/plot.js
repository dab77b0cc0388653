"use strict";

// Line plots over checkpoints, as SVG: series, a band, marks, a cursor that follows the slider.
(function (dvis) {
  const { svg, words } = dvis;
  const LEFT = 52;
  const RIGHT = 14;
  const TOP = 20;
  const BOTTOM = 34;
  const LETTER = 6.2; // pixels, about
  const MAX_DOTS = 70;

  const isNumber = (value) => value !== null && value !== undefined;

  /** Neighbouring places that are known, as lists of places. */
  function stretches(n, isKnown) {
    const found = [];
    for (let i = 0; i < n; i += 1) {
      if (!isKnown(i)) continue;
      if (i > 0 && isKnown(i - 1)) found[found.length - 1].push(i);
      else found.push([i]);
    }
    return found;
  }

  /** From the last place of each stretch to the first of the next. */
  function gaps(parts) {
    return parts.slice(1).map((part, i) => [parts[i][parts[i].length - 1], part[0]]);
  }

  /** A line through what is known, dashed where nothing is known between. */
  function line(positions, values, to) {
    const parts = stretches(values.length, (i) => isNumber(values[i]) && positions[i] !== null);
    const d = (places) => `M${places.map((i) => `${positions[i].toFixed(1)} ${to(values[i]).toFixed(1)}`).join("L")}`;
    return [
      svg("path", { class: "line", d: parts.map(d).join("") }),
      parts.length > 1 ? svg("path", { class: "line bridge", d: gaps(parts).map(d).join("") }) : null,
    ];
  }

  /** A band between two bounds, paler where the line is dashed; a bar where it is of one place. */
  function area(positions, { low, high }, to, kind = "") {
    const parts = stretches(positions.length, (i) => positions[i] !== null && isNumber(low[i]) && isNumber(high[i]));
    const at = (values, i) => `${positions[i].toFixed(1)} ${to(values[i]).toFixed(1)}`;
    const d = (places) => `M${places.map((i) => at(high, i)).join("L")}L${places.slice().reverse().map((i) => at(low, i)).join("L")}Z`;
    const alone = parts.filter((part) => part.length === 1);
    return [
      svg("path", { class: `band ${kind}`.trim(), d: parts.filter((part) => part.length > 1).map(d).join("") }),
      parts.length > 1 ? svg("path", { class: `band bridge ${kind}`.trim(), d: gaps(parts).map(d).join("") }) : null,
      alone.length ? svg("path", { class: `band-bar ${kind}`.trim(), d: alone.map(([i]) => `M${at(high, i)}L${at(low, i)}`).join("") }) : null,
    ];
  }

  function dots(positions, series, to) {
    const known = series.values.filter((v) => v !== null && v !== undefined).length;
    if (known > MAX_DOTS) return [];
    return series.values.map((value, i) => {
      if (value === null || value === undefined || positions[i] === null) return null;
      return svg("circle", { class: "dot", cx: positions[i], cy: to(value), r: known > 30 ? 1.8 : 2.6 });
    });
  }

  /** Crosses where something is to be said of a number, at the top where there is none. */
  function crosses(positions, series, to) {
    return (series.remarks || []).map((remark, i) => {
      if (!remark || positions[i] === null) return null;
      const [x, y] = [positions[i], isNumber(series.values[i]) ? to(series.values[i]) : TOP];
      return svg("path", { class: "cross", d: `M${x - 4} ${y - 4}l8 8m0 -8l-8 8` });
    });
  }

  function frame(width, height, axis, scale, { withTicks, title }) {
    const bottom = height - (withTicks ? BOTTOM : 6);
    return [
      scale.ticks.map((tick) => [
        svg("line", { class: "gridline", x1: LEFT - 6, x2: width - RIGHT + 6, y1: tick.at, y2: tick.at }),
        svg("text", { class: "tick", x: LEFT - 10, y: tick.at + 3.5, "text-anchor": "end" }, tick.text),
      ]),
      title ? svg("text", { class: "panel-title", x: LEFT - 6, y: 11 }, title) : null,
      withTicks
        ? axis.ticks.map((tick) => [
            svg("line", { class: "tickline", x1: tick.at, x2: tick.at, y1: bottom, y2: bottom + 4 }),
            svg("text", { class: "tick", x: Math.min(tick.at, width - (tick.text.length * LETTER) / 2), y: bottom + 15, "text-anchor": "middle" }, tick.text),
          ])
        : null,
      withTicks
        ? svg("text", { class: "axis-title", x: width - RIGHT, y: height - 3, "text-anchor": "end" }, axis.title)
        : null,
    ];
  }

  function mark(axis, { index, text, className }, bottom) {
    const at = axis.positions[index];
    if (at === null || at === undefined) return null;
    const isRight = at > (axis.left + axis.right) / 2;
    return svg(
      "g",
      { class: `mark ${className || ""}` },
      svg("line", { x1: at, x2: at, y1: TOP - 2, y2: bottom }),
      svg("text", { x: at + (isRight ? -5 : 5), y: TOP + 8, "text-anchor": isRight ? "end" : "start" }, text)
    );
  }

  /** What is known at a place of the cursor, in as many words as there is room for. */
  function readout(stop, series, room) {
    const moment = words.moment(stop.checkpoint);
    const values = [];
    series.forEach((s, k) => {
      const index = stop.indices[k];
      if (!s.name || !isNumber(s.values[index])) return;
      const own = s.checkpoints ? words.moment(s.checkpoints[index]) : moment;
      values.push(`${s.name} ${words.number(s.values[index])}${own === moment ? "" : ` at ${own}`}${(s.remarks && s.remarks[index]) || ""}`);
    });
    const texts = [[moment, ...values].join("  ·  "), values.join("  ·  "), moment];
    return texts.find((text) => text && text.length * LETTER <= room) || "";
  }

  function titleWidth(title) {
    return (title || "").length * LETTER * 1.1;
  }

  /** Whether a title has room in a panel of a width. */
  function fits(title, width) {
    return titleWidth(title) <= width - LEFT;
  }

  /** The horizontal axis that all plots of this width share. */
  function axisFor(checkpoints, kind, width) {
    return dvis.scales.axis(checkpoints, kind, LEFT + 6, width - RIGHT - 6);
  }

  /** An axis for numbers of checkpoints of several runs. */
  function sharedAxis(places, checkpoints, kind, width) {
    return dvis.scales.axis(checkpoints, kind, LEFT + 6, width - RIGHT - 6, places);
  }

  /**
   * One panel. `series`: {name, values, className}, of which each may have a `band`: {low, high},
   * and `remarks`; `band`: one that is of none of them; `nullBand`: that of their null, behind all; `marks`: {index, text}; `onPick(index)` on a
   * click. The result's `moveTo(index)` moves the cursor.
   *
   * A series may have checkpoints of its own: {checkpoints, places}, with the places on the given
   * `axis`. The cursor then goes by `stops`: {checkpoint, place, indices}, an index for each series.
   */
  function panel(options) {
    const { width, height = 150, checkpoints, kind, series, band, nullBand, marks = [], title, label } = options;
    const { withTicks = true, withZero = false, cursor = null, onPick = null } = options;
    const axis = options.places ? sharedAxis(options.places, checkpoints, kind, width) : axisFor(checkpoints, kind, width);
    const positionsOf = (s) => (s.places ? s.places.map(axis.at) : axis.positions);
    const stops = options.stops
      ? options.stops.map((stop) => ({ ...stop, at: axis.at(stop.place) }))
      : checkpoints.map((checkpoint, i) => ({ checkpoint, at: axis.positions[i], indices: series.map(() => i) }));
    const bottom = height - (withTicks ? BOTTOM : 6);
    const bands = [nullBand, band, ...series.map((s) => s.band)].filter(Boolean);
    const all = [...series.flatMap((s) => s.values), ...bands.flatMap(({ low, high }) => [...low, ...high])];
    const scale = dvis.scales.vertical(all, bottom, TOP, { withZero });
    const cursorLine = svg("line", { class: "cursor", y1: TOP - 4, y2: bottom });
    const spots = series.map((s) => svg("circle", { class: `spot ${s.className}`, r: 4 }));
    const text = svg("text", { class: "readout", x: width - RIGHT, y: 11, "text-anchor": "end" });
    const picture = svg(
      "svg",
      { class: "plot", width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label || title },
      frame(width, height, axis, scale, { withTicks, title }),
      nullBand ? area(axis.positions, nullBand, scale.to, "null") : null,
      band ? area(axis.positions, band, scale.to) : null,
      series.map((s) => (s.band ? area(positionsOf(s), s.band, scale.to) : null)),
      marks.map((m) => mark(axis, m, bottom)),
      series.map((s) =>
        svg(
          "g",
          { class: `series ${s.className}` },
          line(positionsOf(s), s.values, scale.to),
          dots(positionsOf(s), s, scale.to),
          crosses(positionsOf(s), s, scale.to)
        )
      ),
      cursorLine, spots, text
    );
    let current = cursor;
    function show(index) {
      const stop = isNumber(index) ? stops[index] : null;
      const isThere = Boolean(stop) && isNumber(stop.at);
      cursorLine.setAttribute("visibility", isThere ? "visible" : "hidden");
      if (isThere) {
        cursorLine.setAttribute("x1", stop.at);
        cursorLine.setAttribute("x2", stop.at);
      }
      series.forEach((s, i) => {
        const own = stop ? stop.indices[i] : null;
        const value = stop ? s.values[own] : null;
        const at = stop ? positionsOf(s)[own] : null;
        const isKnown = isNumber(value) && isNumber(at);
        spots[i].setAttribute("visibility", isKnown ? "visible" : "hidden");
        if (isKnown) {
          spots[i].setAttribute("cx", at);
          spots[i].setAttribute("cy", scale.to(value));
        }
      });
      text.textContent = stop ? readout(stop, series, width - LEFT - RIGHT - titleWidth(title) - 12) : "";
    }
    function place(event) {
      const box = picture.getBoundingClientRect();
      return dvis.scales.nearest(stops.map((stop) => stop.at), ((event.clientX - box.left) * width) / box.width);
    }
    picture.addEventListener("pointermove", (event) => show(place(event)));
    picture.addEventListener("pointerleave", () => show(current));
    if (onPick) {
      picture.classList.add("pickable");
      picture.addEventListener("click", (event) => onPick(place(event)));
    }
    show(current);
    return {
      element: picture,
      moveTo(index) {
        current = index;
        show(index);
      },
    };
  }

  /** A word-sized line, without axes. */
  function sparkline(values, { width = 120, height = 26, label, band, cursor = null, withZero = true } = {}) {
    const n = values.length;
    const positions = values.map((_, i) => 2 + (n > 1 ? (i / (n - 1)) * (width - 4) : (width - 4) / 2));
    const all = band ? [...values, ...band.low, ...band.high] : values;
    const scale = dvis.scales.vertical(all, height - 2, 2, { withZero });
    const picture = svg(
      "svg",
      { class: "sparkline", width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label },
      band ? area(positions, band, scale.to) : null,
      line(positions, values, scale.to)
    );
    const spot = svg("circle", { class: "spot", r: 2.4 });
    picture.append(spot);
    function moveTo(index) {
      const value = index === null ? null : values[index];
      const isKnown = value !== null && value !== undefined;
      spot.setAttribute("visibility", isKnown ? "visible" : "hidden");
      if (!isKnown) return;
      spot.setAttribute("cx", positions[index]);
      spot.setAttribute("cy", scale.to(value));
    }
    moveTo(cursor);
    return { element: picture, moveTo };
  }

  function legend(entries) {
    return dvis.element(
      "ul",
      { class: "legend" },
      entries.map(([className, text]) =>
        dvis.element("li", {}, dvis.element("span", { class: `swatch ${className}`, "aria-hidden": "true" }), text)
      )
    );
  }

  dvis.plot = { LEFT, RIGHT, axisFor, fits, panel, sparkline, legend };
})((window.dvis = window.dvis || {}));
