"use strict";

// Keys of the page, and the list of them.
(function (dvis) {
  const { element, button } = dvis;
  const KEYS = [
    ["← →", "checkpoint before, next checkpoint"],
    ["Home End", "first, last checkpoint"],
    ["space", "play, pause"],
    ["/", "search"],
    ["p n", "unit before, next unit"],
    ["u", "up: from a unit to its layer, to the overview"],
    ["c", "compare"],
    ["r", "read the store again"],
    ["t", "light, dark"],
    ["?", "this list"],
  ];

  function helpDialog() {
    const dialog = element("dialog", { class: "help", "aria-labelledby": "help-title" },
      element("h2", { id: "help-title" }, "Keys"),
      element("dl", { class: "keys" }, KEYS.filter(([key]) => key !== "r" || dvis.source.isLive).map(([keys, text]) => [
        element("dt", {}, keys.split(" ").map((key) => element("kbd", {}, key))), element("dd", {}, text)])),
      button("Close", () => dialog.close(), { class: "action" }));
    document.body.append(dialog);
    return dialog;
  }

  let help = null;

  function showHelp() {
    help = help || helpDialog();
    if (help.open) help.close();
    else help.showModal();
  }

  function isTyping(target) {
    return target.matches("input:not([type=range], [type=checkbox]), select, textarea");
  }

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const { target, key } = event;
    if (!(target instanceof Element)) return;
    if (isTyping(target)) {
      if (key === "Escape") target.blur();
      return;
    }
    if (help && help.open && key !== "?") return;
    if (target.closest("dialog.enlarged") && !["ArrowLeft", "ArrowRight", "Home", "End"].includes(key)) return;
    const view = dvis.page.view || {};
    const bar = view.bar;
    const isSlider = target.matches("input[type=range]");
    const actions = {
      ArrowLeft: bar && !isSlider && (() => bar.step(-1)),
      ArrowRight: bar && !isSlider && (() => bar.step(1)),
      Home: bar && !isSlider && bar.first,
      End: bar && !isSlider && bar.last,
      " ": bar && !target.matches("button, summary, a, input[type=checkbox]") && bar.toggle,
      "/": view.search && (() => { const around = view.search.closest("details"); if (around) around.open = true; view.search.focus(); view.search.select(); }),
      p: view.sibling && (() => view.sibling(-1)),
      n: view.sibling && (() => view.sibling(1)),
      u: dvis.page.up,
      c: dvis.page.compare,
      r: dvis.source.isLive && dvis.page.refresh,
      t: dvis.theme.toggle,
      "?": showHelp,
    };
    const action = actions[key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  document.addEventListener("keydown", onKey);
  dvis.keyboard = { showHelp };
})((window.dvis = window.dvis || {}));
