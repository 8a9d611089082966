// The theme that was chosen before, or none: then the system's is followed. See src/theme.ts.
(function () {
  try {
    var theme = localStorage.getItem("tideline.theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // No storage: the system's theme.
  }
})();
