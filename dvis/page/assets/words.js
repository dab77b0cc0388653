"use strict";

// How numbers, checkpoints and states read.
(function (dvis) {
  const STATUS = ["absent", "complete", "incomplete", "failed", "dead"];
  const BIRTH_STATES = ["born", "never", "unstable", "absent"];
  const MISSING = "–";
  const ALONE = "There is one checkpoint: nothing to draw over training.";
  const UNKNOWN = "Nothing is known here";
  const MINUS = "−";
  const MAX_LABEL = 34;

  /** At most four significant digits, a real minus, a dash where nothing is known. */
  function number(value, digits = 4) {
    if (value === null || value === undefined || Number.isNaN(value)) return MISSING;
    if (value === 0) return "0";
    const size = Math.abs(value);
    let text;
    if (size >= 1e6 || size < 1e-3) {
      text = value.toExponential(Math.max(0, digits - 2)).replace(/\.?0+e/, "e").replace("e+", "e");
    } else if (Number.isInteger(value)) {
      text = String(value);
    } else {
      const shown = Number(value.toPrecision(digits));
      text = String(Math.abs(shown) >= 1000 ? Math.round(shown) : shown);
    }
    return text.replace(/-/g, MINUS);
  }

  function count(value) {
    return String(value).replace(/\B(?=(\d{3})+$)/g, "\u202f");
  }

  function counted(value, word, plural = `${word}s`) {
    return `${count(value)} ${value === 1 ? word : plural}`;
  }

  function percent(share) {
    if (share === null || share === undefined) return MISSING;
    return `${Math.round(share * 100)} %`;
  }

  function shortened(text, length = MAX_LABEL) {
    const line = text.replace(/\s+/g, " ");
    if (line.length <= length) return line;
    const half = Math.floor((length - 1) / 2);
    return `${line.slice(0, half)}…${line.slice(line.length - half)}`;
  }

  function capital(text) {
    return text.charAt(0).toUpperCase() + text.slice(1);
  }

  /** The phase before a place in training, where checkpoints were saved in several. */
  function phaseOf(checkpoint) {
    return checkpoint.hasPhases && checkpoint.phase ? `${checkpoint.phase} ` : "";
  }

  /** What to call a checkpoint in a few characters; by its step only where all have one. */
  function moment(checkpoint) {
    const phase = phaseOf(checkpoint);
    if (checkpoint.isByStep) return `${phase}step ${count(checkpoint.step)}`;
    if (checkpoint.epoch !== null) {
      if (checkpoint.batch === null) return `${phase}epoch ${count(checkpoint.epoch)}`;
      return `epoch ${count(checkpoint.epoch)} · ${phase}batch ${count(checkpoint.batch)}`;
    }
    return shortened(checkpoint.label, 24);
  }

  /** The same in as few as stand above a small image. */
  function tick(checkpoint) {
    const phase = phaseOf(checkpoint);
    if (checkpoint.isByStep) return phase + count(checkpoint.step);
    if (checkpoint.epoch !== null) {
      return phase + (checkpoint.batch === null ? `e${checkpoint.epoch}` : `${checkpoint.epoch}:${checkpoint.batch}`);
    }
    return shortened(checkpoint.label, 11);
  }

  /** All that is known of when a checkpoint was saved. */
  function when(checkpoint) {
    const parts = [];
    if (checkpoint.step !== null) parts.push(`step ${count(checkpoint.step)}`);
    if (checkpoint.epoch !== null) parts.push(`epoch ${count(checkpoint.epoch)}`);
    if (checkpoint.phase) parts.push(checkpoint.phase);
    if (checkpoint.batch !== null) parts.push(`batch ${count(checkpoint.batch)}`);
    if (checkpoint.time) parts.push(checkpoint.time.replace("T", " ").slice(0, 16));
    return parts.join(" · ");
  }

  /** What `moment` leaves out. */
  function rest(checkpoint) {
    const parts = [];
    if (!checkpoint.isByStep && checkpoint.step !== null) parts.push(`step ${count(checkpoint.step)}`);
    if (checkpoint.isByStep && checkpoint.epoch !== null) parts.push(`epoch ${count(checkpoint.epoch)}`);
    if (!checkpoint.hasPhases && checkpoint.phase && checkpoint.phase !== "train") parts.push(checkpoint.phase);
    if (checkpoint.time) parts.push(checkpoint.time.replace("T", " ").slice(0, 16));
    return parts.join(" · ");
  }

  function birth(born) {
    if (born.state === "born") {
      return born.step === null ? `born at ${shortened(born.label)}` : `born at step ${count(born.step)}`;
    }
    return {
      never: "never born: it does not rise",
      unstable: "no stable birth: it rose and fell",
      absent: "too few checkpoints for a birth",
    }[born.state] || born.state;
  }

  /** What class a unit is the logit of, where its layer's document knows it. */
  function classOf(layer, position) {
    if (!layer.classes) return "";
    return `class ${layer.channels[position]}, ${layer.classes.names[position]}`;
  }

  /** What nothing was found by, and among what it was looked for. */
  function unfound(noun, searched, among) {
    const text = searched.trim();
    return text ? `No ${noun} has “${shortened(text, 60)}” in its ${among}, or other conditions leave it out.` : `No ${noun} meets these conditions.`;
  }

  /** What births were read off; the whole comment tells what that cannot tell. */
  function measure(born) {
    return { standardised: ", against reference images", raw: ", by raw activations" }[born.measure] || "";
  }

  Object.assign(dvis, {
    words: {
      STATUS, BIRTH_STATES, MISSING, UNKNOWN, ALONE,
      number, count, counted, percent, shortened, capital, moment, tick, when, rest, birth, measure, classOf, unfound,
    },
  });
})((window.dvis = window.dvis || {}));
