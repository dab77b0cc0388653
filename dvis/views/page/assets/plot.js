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

  /** Path through what is known; a gap where it is not. */
  function path(positions, values, to) {
    let d = "";
    let isDown = false;
    values.forEach((value, i) => {
      if (value === null || value === undefined || positions[i] === null) {
        isDown = false;
        return;
      }
      d += `${isDown ? "L" : "M"}${positions[i].toFixed(1)} ${to(value).toFixed(1)}`;
      isDown = true;
    });
    return d;
  }

  function area(positions, low, high, to) {
    const places = positions
      .map((_, i) => i)
      .filter((i) => positions[i] !== null && low[i] !== null && high[i] !== null);
    if (places.length < 2) return "";
    const up = places.map((i) => `${positions[i].toFixed(1)} ${to(high[i]).toFixed(1)}`);
    const down = places.reverse().map((i) => `${positions[i].toFixed(1)} ${to(low[i]).toFixed(1)}`);
    return `M${up.join("L")}L${down.join("L")}Z`;
  }

  function dots(positions, series, to) {
    const known = series.values.filter((v) => v !== null && v !== undefined).length;
    if (known > MAX_DOTS) return [];
    return series.values.map((value, i) => {
      if (value === null || value === undefined || positions[i] === null) return null;
      return svg("circle", { class: "dot", cx: positions[i], cy: to(value), r: known > 30 ? 1.8 : 2.6 });
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

  /** What is known at a checkpoint, in as many words as there is room for beside the title. */
  function readout(checkpoints, series, index, room) {
    const values = series
      .filter((s) => s.name && s.values[index] !== null && s.values[index] !== undefined)
      .map((s) => `${s.name} ${words.number(s.values[index])}`);
    const moment = words.moment(checkpoints[index]);
    const texts = [[moment, ...values].join("  ·  "), values.join("  ·  "), moment];
    return texts.find((text) => text && text.length * LETTER <= room) || "";
  }

  /** The horizontal axis that all plots of this width share. */
  function axisFor(checkpoints, kind, width) {
    return dvis.scales.axis(checkpoints, kind, LEFT + 6, width - RIGHT - 6);
  }

  /**
   * One panel. `series`: {name, values, className}; `band`: {low, high}; `marks`: {index, text};
   * `onPick(index)` on a click. The result's `moveTo(index)` moves the cursor.
   */
  function panel(options) {
    const { width, height = 150, checkpoints, kind, series, band, marks = [], title, label } = options;
    const { withTicks = true, withZero = false, cursor = null, onPick = null } = options;
    const axis = axisFor(checkpoints, kind, width);
    const bottom = height - (withTicks ? BOTTOM : 6);
    const all = series.flatMap((s) => s.values).concat(band ? [...band.low, ...band.high] : []);
    const scale = dvis.scales.vertical(all, bottom, TOP, { withZero });
    const line = svg("line", { class: "cursor", y1: TOP - 4, y2: bottom });
    const spots = series.map((s) => svg("circle", { class: `spot ${s.className}`, r: 4 }));
    const text = svg("text", { class: "readout", x: width - RIGHT, y: 11, "text-anchor": "end" });
    const picture = svg(
      "svg",
      { class: "plot", width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label || title },
      frame(width, height, axis, scale, { withTicks, title }),
      band ? svg("path", { class: "band", d: area(axis.positions, band.low, band.high, scale.to) }) : null,
      marks.map((m) => mark(axis, m, bottom)),
      series.map((s) =>
        svg(
          "g",
          { class: `series ${s.className}` },
          svg("path", { class: "line", d: path(axis.positions, s.values, scale.to) }),
          dots(axis.positions, s, scale.to)
        )
      ),
      line, spots, text
    );
    let current = cursor;
    function show(index) {
      const at = index === null ? null : axis.positions[index];
      const isThere = at !== null && at !== undefined;
      line.setAttribute("visibility", isThere ? "visible" : "hidden");
      if (isThere) {
        line.setAttribute("x1", at);
        line.setAttribute("x2", at);
      }
      series.forEach((s, i) => {
        const value = index === null ? null : s.values[index];
        const isKnown = isThere && value !== null && value !== undefined;
        spots[i].setAttribute("visibility", isKnown ? "visible" : "hidden");
        if (isKnown) {
          spots[i].setAttribute("cx", at);
          spots[i].setAttribute("cy", scale.to(value));
        }
      });
      text.textContent = index === null ? "" : readout(checkpoints, series, index, width - LEFT - RIGHT - (title || "").length * LETTER * 1.1 - 12);
    }
    function place(event) {
      const box = picture.getBoundingClientRect();
      return dvis.scales.nearest(axis.positions, ((event.clientX - box.left) * width) / box.width);
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
      band ? svg("path", { class: "band", d: area(positions, band.low, band.high, scale.to) }) : null,
      svg("path", { class: "line", d: path(positions, values, scale.to) })
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

  dvis.plot = { LEFT, RIGHT, axisFor, panel, sparkline, legend };
})((window.dvis = window.dvis || {}));
