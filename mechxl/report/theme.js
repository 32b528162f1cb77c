(function () { // the theme must be set before the browser paints
  var kept = null;
  try { kept = localStorage.getItem("mechxl-theme"); } catch (none) { /* a file's storage may be closed */ }
  document.documentElement.dataset.theme = kept || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
})();
