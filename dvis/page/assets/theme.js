"use strict";

// Light and dark: as the system has it, unless the reader chose. Loaded before the page is drawn,
// so that it does not flash.
(function (dvis) {
  const KEY = "dvis-theme";

  function stored() {
    try {
      return window.localStorage.getItem(KEY);
    } catch {
      return null; // storage is closed to this page; the choice then lasts as long as it is open
    }
  }

  function isDark() {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : window.matchMedia("(prefers-color-scheme: dark)").matches;
  }

  function toggle() {
    const theme = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    try {
      window.localStorage.setItem(KEY, theme);
    } catch {
      // as above
    }
    window.dispatchEvent(new Event("dvis-theme"));
  }

  const chosen = stored();
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  dvis.theme = { isDark, toggle };
})((window.dvis = window.dvis || {}));
