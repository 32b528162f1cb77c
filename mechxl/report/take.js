"use strict";
(function () { // what can be taken along: figures as PNG, SVG and CSV, and a link to what is shown
  const page = window.mechxlPage, root = document.documentElement;
  const WIDTH = 960, TOP = 44, LINE = 18, A_LINE = 135; // of a picture: px, px, px, characters
  const captionOf = (holder) => { const found = holder.querySelector(".caption"); return found ? found.textContent.trim().replace(/\s+/g, " ") : ""; };
  const titleOf = (holder) => { const found = holder.querySelector("h2, h3"); return (found ? found.firstChild.textContent : document.title).trim(); };
  const atStep = (plot) => page.step() !== null && (page.specOf(plot).layout.sliders || []).length ? ` Shown at step ${page.step().toLocaleString("en")}.` : "";
  const about = (plot, holder) => `${captionOf(holder)}${atStep(plot)} ${document.title}.`;
  function save(href, name) {
    const link = Object.assign(document.createElement("a"), { href, download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(href), 1000);
  }
  const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  function wrapped(text) {
    const lines = [""];
    text.split(" ").forEach(function (word) {
      if (lines[lines.length - 1].length + word.length > A_LINE) lines.push("");
      lines[lines.length - 1] += (lines[lines.length - 1] ? " " : "") + word;
    });
    return lines;
  }
  function picture(plot, holder) { // the figure as SVG, with its title above and its caption below
    const lines = wrapped(about(plot, holder)), height = plot.clientHeight, all = TOP + height + lines.length * LINE + 16;
    const layout = Object.assign({}, plot.layout, { width: WIDTH, height, sliders: [], updatemenus: [] }), style = getComputedStyle(document.body);
    return Plotly.toImage({ data: plot.data, layout, config: { staticPlot: true } }, { format: "svg", width: WIDTH, height }).then(function (href) {
      const figure = decodeURIComponent(href.slice(href.indexOf(",") + 1));
      const words = (text, y, size, weight) => `<text x="16" y="${y}" font-family="system-ui, sans-serif" font-size="${size}" font-weight="${weight}" fill="${style.color}">${escaped(text)}</text>`;
      const caption = lines.map((text, place) => words(text, TOP + height + (place + 1) * LINE, 12, 400)).join("");
      return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${all}" viewBox="0 0 ${WIDTH} ${all}"><title>${escaped(titleOf(holder))}</title><desc>${escaped(about(plot, holder))}</desc><rect width="100%" height="100%" fill="${style.backgroundColor}"/>${words(titleOf(holder), 28, 18, 600)}<g transform="translate(0,${TOP})">${figure}</g>${caption}</svg>`;
    });
  }
  function painted(svg) { // as PNG, two pixels a unit
    return new Promise(function (done, failed) {
      const image = new Image();
      image.onerror = () => failed(new Error("the picture can't be drawn"));
      image.onload = function () {
        const canvas = Object.assign(document.createElement("canvas"), { width: 2 * image.width, height: 2 * image.height });
        canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
        canvas.toBlob(done);
      };
      image.src = `data:image/svg+xml,${encodeURIComponent(svg)}`;
    });
  }
  const listOf = (values) => values === undefined || values === null ? null : Array.from(values);
  function numbers(plot, holder) { // a row a point: trace, x, y, z and text
    const rows = [];
    (plot._fullData || []).forEach(function (trace, number) {
      if (trace.visible !== true) return;
      const name = trace.name || `trace ${number + 1}`, x = listOf(trace.x), y = listOf(trace.y);
      if (trace.z) {
        const across = x, down = y;
        Array.from(trace.z).forEach((row, i) => Array.from(row).forEach((z, j) => rows.push([name, across ? across[j] : j, down ? down[i] : i, z, ""])));
      } else (y || x || []).forEach((_, i) => rows.push([name, x ? x[i] : i, y ? y[i] : "", "", Array.isArray(trace.text) ? trace.text[i] : ""]));
    });
    const shape = (value) => value === undefined ? null : value;
    const content = { columns: ["trace", "x", "y", "z", "text"], values: [0, 1, 2, 3, 4].map((at) => rows.map((row) => shape(row[at]))) };
    const told = [titleOf(holder), about(plot, holder)].map((text) => page.csv({ columns: [`# ${text}`], values: [[]] }));
    return "\ufeff" + told.join("") + page.csv(content);
  }
  function taking(plot) {
    const holder = plot.closest("figure, .panel"), name = `${(document.querySelector("h1") || {}).textContent || "mechxl"}-${plot.id.replace("plot-", "")}`.replace(/[^\p{L}\p{N}._-]+/gu, "_");
    const bar = Object.assign(document.createElement("div"), { className: "take" });
    bar.setAttribute("role", "group");
    bar.setAttribute("aria-label", `Save: ${titleOf(holder)}`);
    ["PNG", "SVG", "CSV"].forEach(function (kind) {
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: kind });
      button.setAttribute("aria-label", `Save as ${kind}: ${titleOf(holder)}`);
      button.addEventListener("click", function () {
        if (!plot.ready) return;
        if (kind === "CSV") return save(URL.createObjectURL(new Blob([numbers(plot, holder)], { type: "text/csv" })), `${name}.csv`);
        const file = `${name}.${kind.toLowerCase()}`, made = picture(plot, holder);
        if (kind === "SVG") made.then((svg) => save(URL.createObjectURL(new Blob([svg], { type: "image/svg+xml" })), file));
        else made.then(painted).then((png) => save(URL.createObjectURL(png), file));
      });
      bar.append(button);
    });
    plot.after(bar);
  }
  page.plots.forEach(taking);

  // ---- the link: checkpoint, fact, question, theme and what is open stand in the fragment
  const panel = (document.getElementById("model") || {}).panel; // the model's
  const folds = [...document.querySelectorAll("details")];
  function fragment() {
    const state = new URLSearchParams(), top = [...document.querySelectorAll("main section[id], .panel[id]")].filter((one) => one.getBoundingClientRect().top < innerHeight / 2 && one.offsetParent).pop();
    if (scrollY > 200 && top) state.set("at", top.id);
    if (page.step() !== null) state.set("step", page.step());
    if (document.getElementById("fact-choice")) state.set("fact", page.fact());
    if (panel) {
      const asked = panel.state();
      state.set("ask", asked.words);
      state.set("in", asked.language);
    }
    state.set("theme", root.dataset.theme);
    const opened = folds.map((one, place) => one.open ? place : -1).filter((place) => place >= 0);
    if (opened.length) state.set("open", opened.join("."));
    return `#${state}`;
  }
  function unfold(target) { // and all that it lies in
    for (let one = target; one; one = one.parentElement) if (one.tagName === "DETAILS") one.open = true;
  }
  function follow() {
    const text = location.hash.slice(1);
    let name = "";
    try { name = decodeURIComponent(text); } catch (none) { return; }
    const plain = document.getElementById(name);
    if (plain) { if (plain.closest("details:not([open])")) { unfold(plain); plain.scrollIntoView(); } return; }
    if (!text.includes("=")) return;
    const state = new URLSearchParams(text);
    if (["light", "dark"].includes(state.get("theme"))) page.setTheme(state.get("theme"));
    (state.get("open") || "").split(".").forEach((place) => { if (place !== "" && folds[place]) folds[place].open = true; });
    if (page.steps.length && /^\d+$/.test(state.get("step") || "")) page.choose(Number(state.get("step")));
    const choice = document.getElementById("fact-choice");
    if (choice && /^\d+$/.test(state.get("fact") || "") && Number(state.get("fact")) < choice.options.length) page.chooseFact(Number(state.get("fact")));
    if (panel && state.has("ask")) panel.restore({ step: page.step(), words: state.get("ask"), language: Number(state.get("in")) || 0 });
    const target = document.getElementById(state.get("at") || "");
    if (target) { unfold(target); target.scrollIntoView(); }
  }
  const copy = document.getElementById("copy");
  if (copy) copy.addEventListener("click", function () {
    const hash = fragment(), link = location.href.replace(/#.*$/, "") + hash;
    try { history.replaceState(null, "", hash); } catch (none) { /* a page inside another may not */ }
    const done = () => { copy.textContent = "copied"; setTimeout(() => { copy.textContent = "copy link"; }, 1500); };
    const byHand = function () { // where there is no clipboard, the address bar has the link
      const field = Object.assign(document.createElement("textarea"), { value: link });
      document.body.append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
      copy.focus();
      done();
    };
    if (navigator.clipboard) navigator.clipboard.writeText(link).then(done, byHand); else byHand();
  });
  addEventListener("hashchange", follow);
  if (location.hash) follow();
})();
