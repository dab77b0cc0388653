"use strict";

// The control over checkpoints: a slider, a step back and forth, play.
(function (dvis) {
  const { element, button, words } = dvis;
  const FRAME_MS = 350;

  /**
   * A bar for these checkpoints. `onChange(index)` may give a promise: playing waits for it.
   * `name` tells two bars apart.
   */
  function checkpointBar({ checkpoints, index, onChange, name = "Checkpoint", metrics = {} }) {
    let current = index;
    let playing = 0;
    const last = checkpoints.length - 1;
    const slider = element("input", {
      type: "range", class: "slider", min: 0, max: Math.max(last, 0), step: 1,
      "aria-label": name, disabled: last < 1,
      on: { input: () => { pause(); go(Number(slider.value)); } },
    });
    slider.value = current;
    const title = element("strong", { class: "bar-moment" });
    const detail = element("span", { class: "bar-detail" });
    const play = button("", toggle, { class: "bar-play icon", title: "Play (space)" });
    const back = button("", () => step(-1), { class: "icon bar-back", "aria-label": "Checkpoint before", title: "Checkpoint before (←)" });
    const forth = button("", () => step(1), { class: "icon bar-forth", "aria-label": "Next checkpoint", title: "Next checkpoint (→)" });
    back.append(sign("M10 3 5 8l5 5"));
    forth.append(sign("M6 3l5 5-5 5"));
    const ticks = element("div", { class: "bar-ticks", "aria-hidden": "true" }, checkpoints.length <= 130
      ? checkpoints.map((_, i) => element("i", { style: { left: last ? `${(i / last) * 100}%` : "50%" } }))
      : null);

    function sign(d) {
      return dvis.svg("svg", { viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true" }, dvis.svg("path", { d, class: "sign" }));
    }

    function describe() {
      const checkpoint = checkpoints[current];
      title.textContent = words.moment(checkpoint);
      const numbers = Object.entries(metrics)
        .filter(([, values]) => values[current] !== null && values[current] !== undefined)
        .map(([metric, values]) => `${metric} ${words.number(values[current], 3)}`);
      detail.textContent = [`${current + 1} of ${checkpoints.length}`, ...numbers, words.rest(checkpoint)].filter(Boolean).join(" · ");
      detail.title = checkpoint.label;
      slider.value = current;
      slider.setAttribute("aria-valuetext", `${words.moment(checkpoint)}, ${checkpoint.label}, ${current + 1} of ${checkpoints.length}`);
      back.disabled = current === 0;
      forth.disabled = current === last;
      const text = playing ? "Pause" : "Play";
      play.setAttribute("aria-label", text);
      play.replaceChildren(sign(playing ? "M5 3v10M11 3v10" : "M4 2.5 13 8l-9 5.5Z"));
    }

    function go(to) {
      const target = Math.max(0, Math.min(last, to));
      if (target === current) return Promise.resolve();
      current = target;
      describe();
      if (!playing) dvis.announce(words.moment(checkpoints[current]));
      return Promise.resolve(onChange(current));
    }

    function step(by) {
      pause();
      return go(current + by);
    }

    function pause() {
      if (!playing) return;
      window.clearTimeout(playing);
      playing = 0;
      describe();
    }

    function toggle() {
      if (playing) {
        pause();
        return;
      }
      if (last < 1) return;
      const turn = (after) => {
        playing = window.setTimeout(async () => {
          if (!root.isConnected) return;
          await go(current + 1);
          if (!playing) return;
          if (current === last) pause();
          else turn(FRAME_MS);
        }, after);
      };
      const fromStart = current === last;
      turn(FRAME_MS);
      if (fromStart) go(0);
      describe();
    }

    const root = element(
      "div",
      { class: "bar", role: "group", "aria-label": name },
      element("div", { class: "bar-buttons" }, back, play, forth),
      element("div", { class: "bar-track" }, slider, ticks),
      element("div", { class: "bar-text" }, title, detail)
    );
    describe();
    return {
      element: root, step, toggle, pause,
      go: (to) => { pause(); return go(to); },
      first: () => { pause(); return go(0); },
      last: () => { pause(); return go(last); },
      get index() { return current; },
      /** Show a checkpoint without telling anybody. */
      set(to) { current = to; describe(); },
    };
  }

  dvis.checkpointBar = checkpointBar;
})((window.dvis = window.dvis || {}));
