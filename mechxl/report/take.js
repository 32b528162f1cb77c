"use strict";
(function () { // what can be taken along: figures as PNG, SVG and CSV, and a link to what is shown
  const page = window.mechxlPage, root = document.documentElement;
  const WIDTH = 1000, LINE = 17, A_LINE = 140; // of a picture: px, px, characters
  const captionOf = (holder) => { const found = holder.querySelector(".caption"); return found ? found.textContent.trim().replace(/\s+/g, " ") : ""; };
  const titleOf = (holder) => { const found = holder.querySelector("h2, h3"); return (found ? found.firstChild.textContent : document.title).trim(); };
  const atStep = (plot) => page.step() !== null && (page.specOf(plot).layout.sliders || []).length ? ` Shown at step ${page.step().toLocaleString("en")}.` : "";
  const about = (plot, holder) => `${captionOf(holder)}${atStep(plot)} ${document.title}.`;
  function save(href, name) {
    const link = Object.assign(document.createElement("a"), { href, download: name });
    link.click();
    if (href.startsWith("blob:")) setTimeout(() => URL.revokeObjectURL(href), 1000);
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
  function picture(plot, holder, format) { // the figure with its title above and its caption below
    const lines = wrapped(about(plot, holder)), height = plot.clientHeight, below = lines.length * LINE + 24;
    const layout = Object.assign({}, plot.layout, { width: WIDTH, height: height + below + 30, paper_bgcolor: getComputedStyle(document.body).backgroundColor });
    const margin = plot._fullLayout.margin, inner = height - margin.t - margin.b;
    layout.margin = Object.assign({}, plot.layout.margin, { t: margin.t + 30, b: margin.b + below });
    layout.sliders = [];
    const shift = (layout.legend || {}).yref === "container" ? { legend: Object.assign({}, layout.legend, { y: below / layout.height }) } : {};
    const ink = (plot.layout.font || {}).color;
    layout.annotations = (plot.layout.annotations || []).concat([
      { text: escaped(titleOf(holder)), xref: "paper", yref: "paper", x: 0, y: 1, yanchor: "bottom", xanchor: "left", yshift: margin.t, showarrow: false, font: { size: 16, color: ink } },
      { text: lines.map(escaped).join("<br>"), xref: "paper", yref: "paper", x: 0, y: 0, yanchor: "top", xanchor: "left", align: "left", yshift: -margin.b, showarrow: false, font: { size: 11, color: ink } },
    ]);
    return inner > 0 ? Plotly.toImage({ data: plot.data, layout: Object.assign(layout, shift), config: { staticPlot: true } }, { format, width: WIDTH, height: layout.height, scale: format === "png" ? 2 : 1 }) : Promise.reject(new Error("the figure is not drawn"));
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
        picture(plot, holder, kind.toLowerCase()).then((href) => save(href, `${name}.${kind.toLowerCase()}`));
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
