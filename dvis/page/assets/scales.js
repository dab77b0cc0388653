"use strict";

// Where checkpoints and numbers stand on an axis, and its ticks.
(function (dvis) {
  const TITLES = {
    index: "checkpoint",
    step: "training step",
    log: "training step, logarithmic",
    time: "time of saving",
    epoch: "epoch",
  };
  const DAY = 86400000;
  const TIME_STEPS = [1, 5, 15, 30, 60, 180, 360, 720, 1440, 2880, 7200, 14400, 43200, 144000];

  function numbers(checkpoints, kind) {
    if (kind === "index") return checkpoints.map((_, i) => i);
    if (kind === "step") return checkpoints.map((c) => c.step);
    // log(1 + step): step 0 has a place, and from 10 on it is the logarithm to the eye.
    if (kind === "log") return checkpoints.map((c) => (c.step === null ? null : Math.log10(1 + c.step)));
    if (kind === "time") {
      return checkpoints.map((c) => (c.time ? Date.parse(`${c.time.slice(0, 19)}Z`) : null));
    }
    const batches = checkpoints.map((c) => c.batch || 0).sort((a, b) => a - b);
    const steps = batches.slice(1).map((b, i) => b - batches[i]).filter((d) => d > 0);
    const inEpoch = batches[batches.length - 1] + (steps.length ? Math.min(...steps) : 1);
    const severalEpochs = new Set(checkpoints.map((c) => c.epoch)).size > 1;
    return checkpoints.map((c) =>
      c.epoch === null ? null : c.epoch + (severalEpochs ? (c.batch || 0) / inEpoch : 0)
    );
  }

  function isUseful(checkpoints, kind) {
    const known = numbers(checkpoints, kind).filter((n) => n !== null && !Number.isNaN(n));
    return known.length > 1 && Math.max(...known) > Math.min(...known);
  }

  /** The axes on which these checkpoints can stand, as [name, title] pairs. */
  function kinds(checkpoints) {
    return Object.entries(TITLES).filter(
      ([kind]) => kind === "index" || isUseful(checkpoints, kind)
    );
  }

  /** Steps where all are known, logarithmic where half lie in the first tenth; else the order. */
  function usual(checkpoints) {
    const steps = checkpoints.map((c) => c.step);
    if (steps.some((step) => step === null) || !isUseful(checkpoints, "step")) return "index";
    const first = Math.min(...steps);
    const tenth = first + (Math.max(...steps) - first) / 10;
    return steps.filter((step) => step <= tenth).length * 2 >= steps.length ? "log" : "step";
  }

  function niceStep(span, n) {
    const rough = span / Math.max(1, n);
    const power = 10 ** Math.floor(Math.log10(rough));
    return power * [1, 2, 5, 10].find((factor) => power * factor >= rough * 0.999);
  }

  function linearTicks(low, high, n) {
    const step = niceStep(high - low, n);
    const ticks = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i += 1) {
      ticks.push(Number((i * step).toPrecision(12)));
    }
    return ticks;
  }

  function logTicks(low, high, n) {
    const all = [0];
    for (let power = 0; power <= Math.ceil(high); power += 1) all.push(10 ** power);
    if (all.length < n) all.push(...all.slice(1).flatMap((v) => [2 * v, 5 * v]));
    return all
      .sort((a, b) => a - b)
      .map((step) => ({ value: Math.log10(1 + step), text: dvis.words.count(step) }))
      .filter((tick) => tick.value >= low - 1e-9 && tick.value <= high + 1e-9);
  }

  function timeTicks(low, high, n) {
    const minutes = (high - low) / 60000 / n;
    const step = (TIME_STEPS.find((s) => s >= minutes) || Math.ceil(minutes / 1440) * 1440) * 60000;
    const ticks = [];
    for (let at = Math.ceil(low / step) * step; at <= high; at += step) {
      const text = new Date(at).toISOString();
      ticks.push({ value: at, text: step >= DAY || at % DAY === 0 ? text.slice(5, 10) : text.slice(11, 16) });
    }
    return ticks;
  }

  function ticksOf(kind, low, high, n, checkpoints) {
    if (kind === "log") return logTicks(low, high, n);
    if (kind === "time") return timeTicks(low, high, n);
    const ticks = linearTicks(low, high, n).filter((v) => kind !== "index" || Number.isInteger(v));
    if (kind !== "index") {
      return ticks.map((value) => ({ value, text: dvis.words.count(value) }));
    }
    return ticks.map((value) => ({ value, text: dvis.words.tick(checkpoints[value]) }));
  }

  /**
   * Checkpoints of two runs on one axis: their places, checkpoints by which an axis of their order
   * is named, and what is to be said of it. Of checkpoints that share no label and no number, the
   * first stands over the first.
   */
  function shared(one, other, asked) {
    const all = [...one, ...other];
    const isKnown = (kind) => numbers(all, kind).every((n) => n !== null && !Number.isNaN(n));
    const kind = asked !== "index" && isKnown(asked) && isUseful(all, asked) ? asked : "index";
    if (kind !== "index") {
      const places = numbers(all, kind);
      return { kind, named: all, places: [places.slice(0, one.length), places.slice(one.length)], note: "" };
    }
    const labels = new Set(one.map((c) => c.label));
    if (other.some((c) => labels.has(c.label))) {
      const named = merged(one, other, labels);
      const at = new Map(named.map((c, i) => [c.label, i]));
      return { kind, named, places: [one, other].map((some) => some.map((c) => at.get(c.label))), note: "" };
    }
    const n = Math.max(one.length, other.length);
    const named = Array.from({ length: n }, (_, i) => ({ label: String(i + 1), step: null, epoch: null, batch: null, phase: "" }));
    const note = "These runs share no checkpoint, and their steps are not known: the first of B stands over the first of A, the second over the second, and so on.";
    return { kind, named, places: [one.map((_, i) => i), other.map((_, i) => i)], note };
  }

  /** Both orders in one: each checkpoint of `other` that `one` lacks after the one before it. */
  function merged(one, other, labels) {
    const all = one.slice();
    let after = 0;
    for (const c of other) {
      if (labels.has(c.label)) after = all.findIndex((each) => each.label === c.label) + 1;
      else { all.splice(after, 0, c); after += 1; }
    }
    return all;
  }

  /** An axis from `left` to `right`: positions of all checkpoints (null: unknown) and its ticks. */
  function axis(checkpoints, kind, left, right, values = numbers(checkpoints, kind)) {
    const known = values.filter((n) => n !== null && !Number.isNaN(n));
    const low = Math.min(...known);
    const high = Math.max(...known);
    const scale = (v) => (high > low ? left + ((v - low) / (high - low)) * (right - left) : (left + right) / 2);
    const positions = values.map((v) => (v === null || Number.isNaN(v) ? null : scale(v)));
    const n = Math.max(2, Math.floor((right - left) / 70));
    const ticks = [];
    for (const tick of high > low ? ticksOf(kind, low, high, n, checkpoints) : []) {
      const at = scale(tick.value);
      const room = (String(tick.text).length * 7) / 2 + 8;
      const last = ticks[ticks.length - 1];
      if (!last || at - last.at > room + last.room) ticks.push({ at, text: tick.text, room });
    }
    if (!ticks.length) {
      ticks.push({ at: (left + right) / 2, text: checkpoints.length ? dvis.words.tick(checkpoints[0]) : "" });
    }
    return { kind, title: TITLES[kind], left, right, positions, ticks, at: scale };
  }

  /** The checkpoint nearest to a place on an axis. */
  function nearest(positions, x) {
    let best = 0;
    positions.forEach((at, i) => {
      if (at === null) return;
      if (positions[best] === null || Math.abs(at - x) < Math.abs(positions[best] - x)) best = i;
    });
    return best;
  }

  /** A vertical axis from `bottom` up to `top` that holds all given numbers. */
  function vertical(values, bottom, top, { withZero = false } = {}) {
    const known = values.filter((v) => v !== null && v !== undefined && Number.isFinite(v));
    let low = known.length ? Math.min(...known) : 0;
    let high = known.length ? Math.max(...known) : 1;
    if (withZero) {
      low = Math.min(0, low);
      high = Math.max(0, high);
    }
    if (high === low) {
      high += Math.abs(high) * 0.1 || 1;
      low -= withZero ? 0 : Math.abs(low) * 0.1;
    }
    const pad = (high - low) * 0.06;
    if (!(withZero && low === 0)) low -= pad;
    high += pad;
    const to = (v) => bottom - ((v - low) / (high - low)) * (bottom - top);
    const ticks = linearTicks(low, high, Math.max(2, Math.floor((bottom - top) / 24)));
    return { to, low, high, ticks: ticks.map((v) => ({ at: to(v), text: dvis.words.number(v) })) };
  }

  dvis.scales = { TITLES, kinds, usual, axis, shared, nearest, vertical, numbers };
})((window.dvis = window.dvis || {}));
