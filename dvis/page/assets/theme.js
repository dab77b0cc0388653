"use strict";

// Light and dark: as the system has it, unless the reader chose. The style sheets go by the root's
// attribute alone. Loaded before the page is drawn, so that it does not flash.
(function (dvis) {
  const KEY = "dvis-theme";

  function stored() {
    try {
      return window.localStorage.getItem(KEY);
    } catch {
      return null; // storage is closed to this page; the choice then lasts as long as it is open
    }
  }

  const root = document.documentElement;
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const chosen = stored();
  let isChosen = chosen === "light" || chosen === "dark";

  function isDark() {
    return root.dataset.theme === "dark";
  }

  function follow() {
    if (!isChosen) root.dataset.theme = system.matches ? "dark" : "light";
  }

  function toggle() {
    const theme = isDark() ? "light" : "dark";
    root.dataset.theme = theme;
    isChosen = true;
    try {
      window.localStorage.setItem(KEY, theme);
    } catch {
      // as above
    }
    window.dispatchEvent(new Event("dvis-theme"));
  }

  if (isChosen) root.dataset.theme = chosen;
  follow();
  system.addEventListener("change", follow);
  dvis.theme = { isDark, toggle };
})((window.dvis = window.dvis || {}));
